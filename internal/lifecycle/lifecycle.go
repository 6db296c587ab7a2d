// Package lifecycle closes what was opened, in reverse order, by name.
//
// A Stack collects closers while a program is being built. If building fails
// half way, Close undoes what stands; when the program stops, the same Close
// ends it. Close runs once, is bounded by its context, and says which step
// failed.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Stack is a last-in-first-out list of named closers. The zero value is ready.
type Stack struct {
	mu    sync.Mutex
	steps []step
}

type step struct {
	name  string
	close func(context.Context) error
}

// Add puts a closer on top. close must return soon after its context ends.
func (s *Stack) Add(name string, close func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, step{name, close})
}

// Go runs f in a goroutine that Close cancels and waits for.
func (s *Stack) Go(name string, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	s.Add(name, func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

// Close runs every closer, newest first, and joins their errors. A closer that
// outlives ctx is left behind and named in the error: going on with the rest is
// worth more than waiting. A second Close does nothing.
func (s *Stack) Close(ctx context.Context) error {
	s.mu.Lock()
	steps := s.steps
	s.steps = nil
	s.mu.Unlock()
	var errs []error
	for i := len(steps) - 1; i >= 0; i-- {
		done := make(chan error, 1)
		go func() { done <- steps[i].close(ctx) }()
		select {
		case err := <-done:
			if err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", steps[i].name, err))
			}
		case <-ctx.Done():
			select {
			case err := <-done:
				if err != nil {
					errs = append(errs, fmt.Errorf("stop %s: %w", steps[i].name, err))
				}
			default:
				errs = append(errs, fmt.Errorf("stop %s: %w", steps[i].name, ctx.Err()))
			}
		}
	}
	return errors.Join(errs...)
}
