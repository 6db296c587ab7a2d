package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func TestADayLeavesAndReadsAsBefore(t *testing.T) {
	s := start(t)
	s.fill(t)
	before := read(t, s, influx.Span{})
	if len(before) != 4*144 {
		t.Fatalf("%d points", len(before))
	}
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.inDatabase(t); n != 0 {
		t.Errorf("%d points are in the database still", n)
	}
	if after := read(t, s, influx.Span{}); !slices.Equal(after, before) {
		t.Errorf("%d points before, %d after", len(before), len(after))
	}
	part := influx.Span{Kinds: []telemetry.Kind{telemetry.KindWaste}, Node: nodes[1], Quantities: []string{"open"}, From: old.Add(time.Hour), To: old.Add(2 * time.Hour)}
	if got := read(t, s, part); len(got) == 0 || strings.Contains(got[0], "level") || !strings.Contains(got[0], "gw 2,x") {
		t.Errorf("a part: %q", got)
	}
	rows, err := s.client.Rows(t.Context(), influx.Hours, influx.Span{})
	if err != nil || len(rows) != 48 {
		t.Errorf("%d rows of hours, %v", len(rows), err)
	}
	files := s.Files()
	if len(files) != 1 || files[0].Day != "2026-08-20" || files[0].Kind != telemetry.KindWaste || files[0].Points != 288 {
		t.Fatalf("%+v", files)
	}
	// Anybody can check it, and a database takes it back.
	body, err := os.ReadFile(s.path(&files[0]))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != files[0].SHA256 {
		t.Error("the manifest's hash is not the file's")
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	other, err := influx.New(database(s.url, s.prefix+"2"))
	if err == nil {
		defer other.Close()
		_, err = other.Prepare(t.Context())
	}
	if err == nil {
		err = other.Write(t.Context(), influx.Raw, lines)
	}
	if err != nil {
		t.Fatal(err)
	}
	waste := influx.Span{Kinds: []telemetry.Kind{telemetry.KindWaste}}
	if back := read(t, other, waste); !slices.Equal(back, read(t, s, waste)) {
		t.Error("what a database took back is not what was there")
	}
	// Nothing is to be done again, and a start finds it all.
	modified := stat(t, s.path(&files[0]))
	s.reopen(t)
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := s.Files(); !slices.Equal(again, files) || !stat(t, s.path(&again[0])).Equal(modified) {
		t.Errorf("a second pass made %+v", again)
	}
	if st := s.Status(); st.Problem != "" || st.Waits != "" || !st.Success.Equal(now) || st.Files != 1 || st.Points != 288 || st.Bytes != int64(len(body)) {
		t.Errorf("%+v", st)
	}
	if v, err := s.Verify(t.Context()); err != nil || len(v.Bad) > 0 || v.Files != 1 || v.Points != 288 {
		t.Errorf("%+v, %v", v, err)
	}
}

func stat(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// onlyListed sees that the folder holds the listed files and nothing else.
func (s *stand) onlyListed(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.o.Dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if files := s.Files(); len(found) != len(files) {
		t.Errorf("found %q, listed are %+v", found, files)
	}
}

// lateData writes, for the day that has left, a point more, a point of a file with
// one field of its three anew, and one of a gateway that was not in the file.
func (s *stand) lateData(t *testing.T) {
	t.Helper()
	at := old.Add(10 * time.Minute).UnixNano()
	var lines []byte
	for _, e := range []influx.Exact{
		{Kind: telemetry.KindWaste, Node: nodes[0], Device: "bak", Time: at + 7, Fields: []influx.Field{{Name: "level", Text: "5"}}},
		{Kind: telemetry.KindWaste, Node: nodes[0], Device: "bak", Time: old.UnixNano(), Fields: []influx.Field{{Name: "level", Text: "42"}}},
		{Kind: telemetry.KindWaste, Node: telemetry.Node{Group: "3301", ID: "baru"}, Device: "bak", Time: at, Fields: []influx.Field{{Name: "level", Text: "1"}}},
	} {
		lines = influx.AppendExact(lines, &e)
	}
	if err := s.Write(t.Context(), influx.Raw, lines); err != nil {
		t.Fatal(err)
	}
}

func TestWhatComesLateIsJoined(t *testing.T) {
	s := start(t)
	s.fill(t)
	first := read(t, s, influx.Span{})
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.lateData(t)
	joined := read(t, s, influx.Span{})
	if len(joined) != len(first)+2 {
		t.Errorf("%d points, want %d", len(joined), len(first)+2)
	}
	changed := slices.ContainsFunc(joined, func(p string) bool {
		return strings.Contains(p, "Value:42") && strings.Contains(p, "say") && strings.Contains(p, "Quantity:open")
	})
	if !changed {
		t.Errorf("the field that came anew does not stand beside the two others: %q", joined[:6])
	}
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, influx.Span{}); !slices.Equal(got, joined) {
		t.Errorf("after the next pass: %d points of %d", len(got), len(joined))
	}
	if n := s.inDatabase(t); n != 0 {
		t.Errorf("%d points are in the database still", n)
	}
	files := s.Files()
	if len(files) != 2 || files[0].Revision != 0 || files[1].Revision != 1 || files[0].Points != 288 || files[1].Points != 290 {
		t.Errorf("%+v", files)
	}
	if v, err := s.Verify(t.Context()); err != nil || len(v.Bad) > 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestWhatMustWaitStays(t *testing.T) {
	synced := true
	s := start(t, func(o *Options) { o.Synced = func() bool { return synced } })
	s.fill(t)
	stays := func(why string) {
		t.Helper()
		if n := s.inDatabase(t); n != 240 {
			t.Errorf("%s: %d points are in the database, want 240", why, n)
		}
		if found, _ := filepath.Glob(filepath.Join(s.o.Dir, "*", "*")); len(found) > 0 {
			t.Errorf("%s: there is %q", why, found)
		}
	}
	var asked [2]time.Time
	s.waits = func(_ context.Context, from, to time.Time) (string, error) {
		asked = [2]time.Time{from, to}
		return "3 hours are still to be computed", nil
	}
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	stays("dirty hours")
	if asked != [2]time.Time{old, old.Add(24 * time.Hour)} {
		t.Errorf("asked for %v", asked)
	}
	if st := s.Status(); st.Waits != "2026-08-20: 3 hours are still to be computed" || st.Problem != "" || !st.Success.IsZero() {
		t.Errorf("%+v", st)
	}
	s.now = now.Add(25 * time.Hour)
	if st := s.Status(); !strings.Contains(st.Problem, "3 hours") || !st.Since.Equal(now) {
		t.Errorf("after a day: %+v", st)
	}
	s.now, s.waits, synced = now, nothing, false
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	stays("no time")
	synced = true
	s.o.MinFree = 1 << 60
	if err := s.Pass(t.Context()); err == nil || !strings.Contains(err.Error(), "make room") {
		t.Errorf("no room: %v", err)
	}
	stays("no room")
	if st := s.Status(); !strings.Contains(st.Problem, "make room") || !st.Since.Equal(now) {
		t.Errorf("%+v", st)
	}
	s.o.MinFree = 1
	if err := s.Pass(t.Context()); err != nil || s.inDatabase(t) != 0 || s.Status().Problem != "" {
		t.Errorf("at last: %v, %+v", err, s.Status())
	}
}

// What Pantau did not write is not thrown away, and keeps nothing else.
func TestForeignPointsStay(t *testing.T) {
	s := start(t)
	s.fill(t)
	e := influx.Exact{Kind: telemetry.KindEnergy, Node: nodes[0], Device: "kwh", Time: old.Add(time.Minute).UnixNano(), Fields: []influx.Field{{Name: "x", Text: "1"}}}
	lines := append(influx.AppendExact(nil, &e), []byte("energy,site=x n=1i "+"1787000000000000001\n")...)
	if err := s.client.Write(t.Context(), influx.Raw, lines); err != nil {
		t.Fatal(err)
	}
	if err := s.Pass(t.Context()); err == nil || !strings.Contains(err.Error(), "tag site") {
		t.Errorf("got %v", err)
	}
	energy := 0
	err := s.Exact(t.Context(), influx.Span{Kinds: []telemetry.Kind{telemetry.KindEnergy}}, func(*influx.Exact) error { energy++; return nil })
	if err != nil || energy != 2 {
		t.Errorf("%d points of energy, %v", energy, err)
	}
	if n := s.inDatabase(t); n != 0 {
		t.Errorf("%d points of waste stayed", n)
	}
}

func TestErasingANodeTakesItOutOfTheFiles(t *testing.T) {
	s := start(t)
	s.fill(t)
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.lateData(t)
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, n := range append(slices.Clone(nodes), telemetry.Node{Group: "3301", ID: "baru"}) {
		if err := s.Erase(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, influx.Span{Node: n}); len(got) > 0 {
			t.Errorf("%s still has %d points", n, len(got))
		}
		if i == 0 {
			if got := read(t, s, influx.Span{Node: nodes[1], Kinds: []telemetry.Kind{telemetry.KindWaste}}); len(got) != 144 {
				t.Errorf("the other has %d points", len(got))
			}
		}
		if v, err := s.Verify(t.Context()); err != nil || len(v.Bad) > 0 || v.Files > 1 {
			t.Errorf("%+v, %v", v, err)
		}
		s.onlyListed(t)
	}
	if files := s.Files(); len(files) > 0 {
		t.Errorf("an empty day still has %+v", files)
	}
}

// A deletion without an answer may still be done: what comes for that time waits.
type unanswering struct{ Database }

func (u unanswering) RemoveRaw(ctx context.Context, kind telemetry.Kind, from, to time.Time) error {
	return errors.Join(u.Database.RemoveRaw(ctx, kind, from, to), &influx.UnavailableError{Err: io.ErrUnexpectedEOF})
}

func TestNothingOldIsWrittenWhileADeletionIsOnItsWay(t *testing.T) {
	s := start(t)
	s.fill(t)
	before := read(t, s, influx.Span{})
	s.Database = unanswering{s.client}
	if err := s.Pass(t.Context()); err == nil {
		t.Fatal("no error")
	}
	line := func(at time.Time) []byte {
		e := influx.Exact{Kind: telemetry.KindWaste, Node: nodes[0], Device: "bak", Time: at.UnixNano() + 9, Fields: []influx.Field{{Name: "level", Text: "5"}}}
		return influx.AppendExact(nil, &e)
	}
	var away *influx.UnavailableError
	mixed := append(line(now), line(old)...)
	if err := s.Write(t.Context(), influx.Raw, mixed); !errors.As(err, &away) || away.RetryAfter != s.LongestWrite() {
		t.Errorf("old points: %v", err)
	}
	if err := s.Write(t.Context(), influx.Raw, line(now)); err != nil {
		t.Errorf("new points: %v", err)
	}
	s.Database = s.client
	s.now = now.Add(s.LongestWrite())
	if err := s.Write(t.Context(), influx.Raw, mixed); err != nil {
		t.Errorf("later: %v", err)
	}
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, influx.Span{}); len(got) != len(before)+1 { // now itself is not read
		t.Errorf("%d points, want %d", len(got), len(before)+1)
	}
	// A start finds files and cannot know what the process before was doing.
	s.open(t, s.o)
	if err := s.Write(t.Context(), influx.Raw, line(old)); !errors.As(err, &away) {
		t.Errorf("after a start: %v", err)
	}
}

func TestDamageIsSaidAndNeverLooksLikeNothing(t *testing.T) {
	s := start(t)
	s.fill(t)
	before := read(t, s, influx.Span{})
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	files := s.Files()
	// A lost or damaged manifest is written again from the files.
	for _, body := range [][]byte{nil, []byte("{\"kind\":\n")} {
		manifest := filepath.Join(s.o.Dir, manifestName)
		err := os.Remove(manifest)
		if body != nil {
			err = os.WriteFile(manifest, body, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		s.reopen(t)
		if got := read(t, s, influx.Span{}); !slices.Equal(got, before) {
			t.Errorf("without a manifest: %d points of %d", len(got), len(before))
		}
		if again := s.Files(); len(again) != 1 || again[0].SHA256 != files[0].SHA256 || again[0].Content != files[0].Content || again[0].Index != files[0].Index {
			t.Errorf("%+v\nwas %+v", again, files)
		}
	}
	path := s.path(&files[0])
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/3] ^= 1
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Verify(t.Context()); err != nil || len(v.Bad) != 1 || !strings.Contains(v.Bad[0], "waste/2026-08-20.R0.lp.gz") {
		t.Errorf("%+v, %v", v, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.reopen(t)
	if st := s.Status(); !strings.Contains(st.Problem, "2026-08-20") {
		t.Errorf("%+v", st)
	}
	if v, err := s.Verify(t.Context()); err != nil || len(v.Bad) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	span := influx.Span{Kinds: []telemetry.Kind{telemetry.KindWaste}, From: old, To: old.Add(time.Hour)}
	if err := s.Points(t.Context(), span, func(*influx.Point) error { return nil }); err == nil {
		t.Error("a missing file reads like a day without readings")
	}
}

func TestRetentionIsDated(t *testing.T) {
	s := start(t)
	s.fill(t)
	if err := s.SetRetention(t.Context(), DatedRetention{Since: now.Add(time.Hour), Days: Retention{telemetry.KindAir: 30, telemetry.KindWaste: 400}, Reason: "rapat", By: "sari"}); err != nil {
		t.Fatal(err)
	}
	for want, r := range map[string]DatedRetention{
		"in the past":       {Since: now.Add(-time.Hour), Days: Retention{telemetry.KindAir: 30}, Reason: "x", By: "sari"},
		"who changes it":    {Since: now.Add(time.Hour), Days: Retention{telemetry.KindAir: 30}, By: "sari"},
		"want 7 to 36500":   {Since: now.Add(time.Hour), Days: Retention{telemetry.KindAir: 1}, Reason: "x", By: "sari"},
		"there is no kind ": {Since: now.Add(time.Hour), Days: Retention{"udara": 30}, Reason: "x", By: "sari"},
	} {
		if err := s.SetRetention(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	s.reopen(t)
	if r := s.Retention(); r.Days[telemetry.KindAir] != 1826 || len(s.Retentions()) != 2 {
		t.Errorf("%+v", r)
	}
	s.now = now.Add(2 * time.Hour)
	if r := s.Retention(); r.Days[telemetry.KindAir] != 30 || r.Days[telemetry.KindWaste] != 400 || r.Days[telemetry.KindEnergy] != 90 || r.By != "sari" || r.Version != 1 {
		t.Errorf("%+v", r)
	}
	before := read(t, s, influx.Span{})
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := s.Files(); len(files) != 1 || files[0].Kind != telemetry.KindAir || s.inDatabase(t) != 240 {
		t.Errorf("%+v", files)
	}
	if got := read(t, s, influx.Span{}); !slices.Equal(got, before) {
		t.Errorf("%d points of %d", len(got), len(before))
	}
}

func TestOldLines(t *testing.T) {
	limit := time.Unix(1764000000, 0)
	for lines, want := range map[string]bool{
		"":                              false,
		"air x=1 1764000000000000000\n": false,
		"air x=1 1763999999999999999\n": true,
		"air x=1 -5\n":                  true,
		"air x=1 86400000000000\n":      true,
		"air x=1 1764000000000000001\nair x=\"a 1\" 1763999999999999999": true,
	} {
		if olderThan([]byte(lines), limit) != want {
			t.Errorf("%q: %v", lines, !want)
		}
	}
}
