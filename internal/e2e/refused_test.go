package e2e

import (
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
	if _, err := r.ask(http.MethodPost, `DROP MEASUREMENT "other"`, "", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.admin(&done, "deadletter", "retry", list[0].ID); err != nil {
		t.Errorf("a retry without the cause: %v", err)
	}
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
