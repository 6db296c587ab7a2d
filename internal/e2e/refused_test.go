package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/internal/server"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// 7.4, the third part: the database refuses one point among many, since its
// field has another type already. Nothing else is lost; the point is one dead
// letter, which an operator finds, looks at, and retries once the cause is gone.
func TestDatabaseRefusesOnePoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.importNodes("3374,pembuat,kata-sandi-pembuat,3374,\n", 1)
	await(t, "the database's buckets", patience, func() bool {
		return r.influxWrite(fmt.Sprintf("other,device=benih zeta=\"a text\" %d\n", time.Now().UnixNano()), "", "") == nil
	})
	result, file := r.play(10, fleet.Options{Interval: 100 * time.Millisecond, For: 5 * time.Second, Seed: 11}, func() {
		d := r.connect("3374/pembuat", "kata-sandi-pembuat")
		d.born(series{"alat", "temperature", sparkplug.TypeDouble, telemetry.DegreeCelsius}, series{"alat", "zeta", sparkplug.TypeDouble, ""})
		begin := time.Now().Add(-time.Second)
		var records []telemetry.Record
		for i := range 10 {
			quantity := "temperature"
			if i == 6 {
				quantity = "zeta"
			}
			records = append(records, record("alat", begin.Add(time.Duration(i)*10*time.Millisecond), quantity, 20+float64(i)))
		}
		d.send(records...)
	})
	v := r.verify(file)
	if v.Stored != result.Readings || v.Lost+v.Doubled+v.Altered+v.DeadLetters > 0 {
		t.Errorf("the fleet beside it: %+v of %+v", v, result)
	}
	row := func() server.LedgerRow { return r.of(&site{node: "3374/pembuat"}) }
	await(t, "the ledger of the ten records", patience, func() bool { l := row(); return l.Expected == 10 && l.Missing == 0 })
	if l := row(); l.Stored != 9 || l.DeadLetters != 1 || l.Lost != 0 {
		t.Errorf("the ledger: %+v", l)
	}
	letters := func() []server.DeadLetter {
		t.Helper()
		var list []server.DeadLetter
		if err := r.admin(&list, "deadletter", "list"); err != nil {
			t.Fatal(err)
		}
		return list
	}
	list := letters()
	if len(list) != 1 || list[0].Node != "3374/pembuat" || list[0].Reason == "" || !strings.Contains(list[0].Detail, "zeta") {
		t.Fatalf("dead letters: %+v", list)
	}
	t.Logf("the dead letter: %+v", list[0])
	var shown server.DeadLetter
	if err := r.admin(&shown, "deadletter", "show", list[0].ID); err != nil || len(shown.Payload) == 0 || shown.ID != list[0].ID {
		t.Errorf("deadletter show: %+v, %v", shown, err)
	}
	var done server.Done
	if err := r.admin(&done, "deadletter", "retry", list[0].ID); err == nil || len(letters()) != 1 {
		t.Errorf("a retry against the same cause: %+v, %v", done, err)
	}
	// A busy InfluxDB may keep the field's type when its last point goes, and loses it
	// when it is dropped again.
	await(t, "a retry without the cause", patience, func() bool {
		if _, err := r.ask(http.MethodPost, `DROP MEASUREMENT "other"`, "", ""); err != nil {
			t.Fatal(err)
		}
		return r.admin(&done, "deadletter", "retry", list[0].ID) == nil
	})
	if list := letters(); len(list) != 0 {
		t.Errorf("dead letters after it: %+v", list)
	}
	if got := r.query(`SELECT zeta FROM "pantau"."raw"."other"`); len(got) != 1 || fmt.Sprint(got[0]["zeta"]) != "26" {
		t.Errorf("zeta in the database: %v", got)
	}
	if l := row(); l.Stored != 10 || l.DeadLetters != 0 || l.Missing != 0 {
		t.Errorf("the ledger after it: %+v", l)
	}
}

// A dozen broken nodes fill the dead letters: the store stands and says what to
// do, readings wait, and go on once an operator has dropped what nobody needs.
// The ledger still counts it, and the log says who dropped what.
func TestOperatorMakesRoomInFullDeadLetters(t *testing.T) {
	t.Parallel()
	const nodes, each = 12, 24 // of 240 KB, as they are kept: almost a node's eighth; together less than twice the quota
	r := newRig(t)
	var lines strings.Builder
	for i := range nodes {
		fmt.Fprintf(&lines, "3374,rusak-%d,kata-sandi-rusak-%d,3374,\n", i, i)
	}
	r.importNodes(lines.String()+"3374,sehat,kata-sandi-sehat,3374,\n", nodes+1)
	nonsense := bytes.Repeat([]byte{0xff}, 240<<10)
	for i := range nodes {
		d := r.connect(fmt.Sprintf("3374/rusak-%d", i), fmt.Sprintf("kata-sandi-rusak-%d", i))
		for range each {
			d.must(sparkplug.NDATA, "", nonsense)
		}
	}
	problems := func() string {
		t.Helper()
		var h server.Health
		if err := r.admin(&h, "health"); err != nil {
			t.Fatal(err)
		}
		return strings.Join(h.Problems, "\n")
	}
	await(t, "a full quota that says what to do", patience, func() bool {
		return strings.Contains(problems(), "pantau deadletter drop")
	})
	d := r.connect("3374/sehat", "kata-sandi-sehat")
	d.born(series{"alat", "temperature", sparkplug.TypeDouble, telemetry.DegreeCelsius})
	d.send(record("alat", time.Now(), "temperature", 21.5))
	if err := r.admin(&[]server.Done{}, "deadletter", "drop", "no-such-letter"); err == nil {
		t.Error("a letter was dropped that is not there")
	}
	var list []server.DeadLetter
	if err := r.admin(&list, "deadletter", "list"); err != nil || len(list) == 0 {
		t.Fatalf("%d dead letters: %v", len(list), err)
	}
	drop := []string{"deadletter", "drop"}
	for _, l := range list {
		drop = append(drop, l.ID)
	}
	var done []server.Done
	if err := r.admin(&done, drop...); err != nil || len(done) != len(list) {
		t.Fatalf("dropped %d of %d: %v", len(done), len(list), err)
	}
	await(t, "the reading that stood behind them, and no problem", patience, func() bool {
		return r.of(&site{node: "3374/sehat"}).Stored == 1 && problems() == ""
	})
	if got := r.query(`SELECT temperature FROM "pantau"."raw"."air" WHERE gateway = 'sehat'`); len(got) != 1 {
		t.Errorf("the reading in the database: %v", got)
	}
	if l := r.ledger().Total; l.DeadLetters != nodes*each || l.Missing != 0 || l.Lost != 0 {
		t.Errorf("the ledger: %+v, want %d dead letters", l, nodes*each)
	}
	var page server.AuditPage
	if err := r.admin(&page, "audit", "--action", "deadletter.drop"); err != nil {
		t.Fatal(err)
	}
	if len(page.Records) == 0 || page.Records[0].Object != list[len(list)-1].ID || !strings.Contains(page.Records[0].Detail, "3374/rusak-") {
		t.Errorf("the audit log: %+v", page.Records)
	}
}
