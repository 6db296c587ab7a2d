package influx

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Erase deletes all that a node has in the three buckets. What is written later
// stays: whoever calls it sees to it that nothing of the node is on its way. The
// write token does it; in 2.x it needs the right to write each bucket, as for
// writing.
func (c *Client) Erase(ctx context.Context, n telemetry.Node) error {
	info, err := c.Prepare(ctx)
	if err != nil {
		return fmt.Errorf("erase %s: %w", n, err)
	}
	if info.Major < 2 {
		// It drops from every retention policy of the database.
		statement := `DROP SERIES WHERE "group" = ` + quoteText(n.Group) + ` AND "gateway" = ` + quoteText(n.ID)
		err := c.query(ctx, c.writer, http.MethodPost, Raw, statement, func(string, []string, []cell) error { return nil })
		if err != nil {
			return fmt.Errorf("erase %s: %w", n, err)
		}
		return nil
	}
	// In quotes: without them group is a word of the language.
	predicate := `"group"=` + quoteName(n.Group) + ` AND "gateway"=` + quoteName(n.ID)
	for _, b := range []Bucket{Raw, Hours, Days} {
		err := c.writer.DeleteAPI().DeleteWithName(ctx, c.o.Org, c.Name(b), time.Unix(0, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), predicate)
		if err != nil {
			return fmt.Errorf("erase %s from %s: %w", n, c.Name(b), err)
		}
	}
	return nil
}
