package influx

import (
	"context"
	"errors"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

var errEnough = errors.New("enough")

// PointReader reads raw points; *Client is one.
type PointReader interface {
	Points(ctx context.Context, s Span, fn func(*Point) error) error
}

// Readings hands fn the readings of one node and kind in from <= time < to, oldest
// first, until fn returns false; nil quantities = all. The database stops, too.
func Readings(ctx context.Context, of PointReader, n telemetry.Node, kind telemetry.Kind, quantities []string, from, to time.Time, fn func(device string, t time.Time, r telemetry.Reading) bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	err := of.Points(ctx, Span{Kinds: []telemetry.Kind{kind}, Node: n, Quantities: quantities, From: from, To: to}, func(p *Point) error {
		for i := range p.Readings {
			if !fn(p.Device, time.Unix(0, p.Time).UTC(), p.Readings[i]) {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}
