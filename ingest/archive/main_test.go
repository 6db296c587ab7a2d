package archive

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func TestMain(m *testing.M) {
	if step := os.Getenv("PANTAU_ARCHIVE_KILL_AT"); step != "" {
		dieAt(step)
	}
	os.Exit(influxtest.Run(m))
}

// dieAt is a process of its own that makes a pass and kills itself, as kill -9
// does, before a step.
func dieAt(step string) {
	c, err := influx.New(database(os.Getenv("PANTAU_ARCHIVE_URL"), os.Getenv("PANTAU_ARCHIVE_PREFIX")))
	if err == nil {
		var a *Archive
		a, err = Open(context.Background(), Options{Dir: os.Getenv("PANTAU_ARCHIVE_DIR"), Database: c, KV: noKV{}, MinFree: 1, Now: func() time.Time { return now }})
		if err == nil {
			a.waits = nothing
			a.steps = func(s string) error {
				if s == step {
					return syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
				return nil
			}
			err = a.Pass(context.Background())
		}
	}
	fmt.Fprintln(os.Stderr, "lived on:", err)
	os.Exit(3)
}

// noKV is the bucket of a server that never set a retention.
type noKV struct{}

func (noKV) Create(context.Context, string, []byte) (uint64, error) { return 0, os.ErrPermission }
func (noKV) List(context.Context, string) (map[string][]byte, error) {
	return nil, nil
}

// now is the tests' time: waste of up to 2026-08-24 is older than 90 days.
var now = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// old is a day that leaves, its first instant.
var old = time.Date(2026, 8, 19, 17, 0, 0, 0, time.UTC)

func nothing(context.Context, time.Time, time.Time) (string, error) { return "", nil }

// stand is an archive before a database of its own. PANTAU_INFLUX_URL names another
// server than the tests', as for those of ingest/influx.
type stand struct {
	*Archive
	client *influx.Client
	prefix string
	url    string
	now    time.Time
}

func (s *stand) clock() time.Time { return s.now }

func database(url, prefix string) influx.Options {
	return influx.Options{
		URL: url, Prefix: prefix, Org: os.Getenv("PANTAU_INFLUX_ORG"),
		WriteToken: os.Getenv("PANTAU_INFLUX_WRITE_TOKEN"), ReadToken: os.Getenv("PANTAU_INFLUX_READ_TOKEN"),
	}
}

func start(t *testing.T, change ...func(*Options)) *stand {
	t.Helper()
	s := &stand{prefix: t.Name(), url: os.Getenv("PANTAU_INFLUX_URL"), now: now}
	if s.url == "" {
		s.url = influxtest.Shared(t).URL
	}
	var err error
	for _, c := range "/\\\" " {
		s.prefix = string(slices.DeleteFunc([]rune(s.prefix), func(r rune) bool { return r == c }))
	}
	if s.client, err = influx.New(database(s.url, s.prefix)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	if _, err := s.client.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(t.TempDir(), "journal"), MaxBytes: 16 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	kv, err := j.KV(t.Context(), "archive", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: filepath.Join(t.TempDir(), "archive"), Database: s.client, KV: kv, MinFree: 1, Now: s.clock, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&o)
	}
	s.open(t, o)
	return s
}

// open opens the archive, once more if it was open: as after a kill.
func (s *stand) open(t *testing.T, o Options) {
	t.Helper()
	a, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	a.waits = nothing
	s.Archive = a
}

func (s *stand) reopen(t *testing.T) {
	t.Helper()
	s.open(t, s.o)
	s.shut.Store(0) // what the process before asked for has long been done
}

var nodes = []telemetry.Node{{Group: "3374", ID: "gw-1"}, {Group: "3374", ID: "gw 2,x"}}

// fill writes a day of waste readings of two gateways, all that a point can be,
// and air readings and rows of hours beside them.
func (s *stand) fill(t *testing.T) {
	t.Helper()
	var lines []byte
	for _, n := range nodes {
		for i := range 24 * 6 {
			at := old.Add(time.Duration(i) * 10 * time.Minute).UnixNano()
			e := influx.Exact{Kind: telemetry.KindWaste, Node: n, Device: "bak", Time: at + int64(i%3), Fields: []influx.Field{
				{Name: "level", Text: strconv.FormatFloat(float64(i)/7, 'g', -1, 64)},
				{Name: "note_text", Type: influx.Text, Text: "say \"a\\b\""},
				{Name: "open_bool", Type: influx.Truth, Text: "true"},
			}}
			switch i % 5 {
			case 1:
				e.Fields = []influx.Field{{Name: "level", Text: "3"}, {Name: "level_flag", Type: influx.Text, Text: "range"}, {Name: "level_rejected", Text: "99999"}}
			case 2:
				e.Fields = []influx.Field{{Name: "level_gap", Type: influx.Text, Text: "no_answer"}}
			}
			lines = influx.AppendExact(lines, &e)
			e.Kind = telemetry.KindAir
			lines = influx.AppendExact(lines, &e)
		}
		for hour := range 24 {
			r := influx.NewRow(telemetry.KindWaste, n, "bak", "level", old.Add(time.Duration(hour)*time.Hour))
			r.Mean, r.Valid = 1, 6
			if err := s.client.WriteRows(t.Context(), influx.Hours, []influx.Row{r}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Write(t.Context(), influx.Raw, lines); err != nil {
		t.Fatal(err)
	}
}

// read gives all that a reader gets of some days, as text.
func read(t *testing.T, from influx.PointReader, s influx.Span) []string {
	t.Helper()
	if s.From.IsZero() {
		s.From, s.To = old.Add(-48*time.Hour), now
	}
	var out []string
	err := from.Points(t.Context(), s, func(p *influx.Point) error {
		r := slices.Clone(p.Readings)
		slices.SortFunc(r, func(a, b telemetry.Reading) int { return len(a.Quantity) - len(b.Quantity) })
		out = append(out, fmt.Sprintf("%d %s %v %q %+v", p.Time, p.Kind, p.Node, p.Device, r))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// inDatabase counts the waste points that the database has, without those that may
// stay.
func (s *stand) inDatabase(t *testing.T) (n int) {
	t.Helper()
	err := s.client.Exact(t.Context(), influx.Span{Kinds: []telemetry.Kind{telemetry.KindWaste}}, func(e *influx.Exact) error {
		if !influx.MayStay(e.Time) {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
