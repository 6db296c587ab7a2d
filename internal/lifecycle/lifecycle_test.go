package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCloseRunsNewestFirstOnceAndNamesTheFailure(t *testing.T) {
	var s Stack
	var order []string
	s.Add("journal", func(context.Context) error { order = append(order, "journal"); return nil })
	s.Add("ingest", func(context.Context) error { order = append(order, "ingest"); return errors.New("disk gone") })
	s.Add("listener", func(context.Context) error { order = append(order, "listener"); return nil })
	err := s.Close(t.Context())
	if !slices.Equal(order, []string{"listener", "ingest", "journal"}) {
		t.Errorf("order %v", order)
	}
	if err == nil || !strings.Contains(err.Error(), "stop ingest: disk gone") {
		t.Errorf("error %v", err)
	}
	if err := s.Close(t.Context()); err != nil || len(order) != 3 {
		t.Errorf("second close: %v, %v", err, order)
	}
}

func TestCloseLeavesBehindWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Stack
		closed := false
		release := make(chan struct{})
		s.Add("journal", func(context.Context) error { closed = true; return nil })
		s.Add("hanger", func(context.Context) error { <-release; return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := s.Close(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "hanger") {
			t.Errorf("error %v", err)
		}
		synctest.Wait()
		if !closed {
			t.Error("the step below was not run")
		}
		close(release)
	})
}

func TestGoIsCancelledAndAwaited(t *testing.T) {
	var s Stack
	ended := false
	s.Go("loop", func(ctx context.Context) { <-ctx.Done(); ended = true })
	if err := s.Close(t.Context()); err != nil || !ended {
		t.Errorf("%v, ended %v", err, ended)
	}
}
