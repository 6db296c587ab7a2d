package simulation

import (
	"os"
	"runtime/debug"
	"testing"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // these worlds are small: collecting them would be a third of the work
	os.Exit(m.Run())
}
