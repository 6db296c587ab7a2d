package broker

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// logLimiter lets one line a second through for each reason: ten thousand
// hostile packets are one line with a number.
type logLimiter struct {
	mu     sync.Mutex
	last   map[string]time.Time
	hidden map[string]int
}

func (b *Broker) log(reason, msg string, err error, attrs ...slog.Attr) {
	l := &b.logs
	now := time.Now()
	l.mu.Lock()
	if now.Sub(l.last[reason]) < time.Second {
		l.hidden[reason]++
		l.mu.Unlock()
		return
	}
	hidden := l.hidden[reason]
	l.last[reason], l.hidden[reason] = now, 0
	l.mu.Unlock()
	attrs = append(attrs, slog.String("reason", reason))
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	if hidden > 0 {
		attrs = append(attrs, slog.Int("not_logged_since", hidden))
	}
	b.opts.Logger.LogAttrs(context.Background(), slog.LevelInfo, msg, attrs...)
}

// quiet lets mochi's log lines through at level debug only: it warns of every
// client that goes away.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(name string) slog.Handler   { return quiet{q.Handler.WithGroup(name)} }
