package broker

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// enrolment serves Options.EnrolHandler: HTTP on the MQTT port, for connections
// that asked for EnrolProtocol. One request a connection, small, and a wrong
// claim counts like a wrong password.
type enrolment struct {
	b      *Broker
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	ended  chan struct{}
}

const maxEnrolBody = 64 << 10

type enrolKey struct{}

func newEnrolment(b *Broker, h http.Handler) *enrolment {
	e := &enrolment{b: b, conns: make(chan net.Conn), closed: make(chan struct{}), ended: make(chan struct{})}
	e.server = &http.Server{
		Handler:           http.MaxBytesHandler(e.guard(h), maxEnrolBody),
		ReadHeaderTimeout: b.opts.Limits.ConnectTime,
		ReadTimeout:       2 * b.opts.Limits.ConnectTime,
		WriteTimeout:      b.opts.Limits.WriteTime,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(quiet{b.opts.Logger.Handler()}, slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, enrolKey{}, c)
		},
	}
	e.server.SetKeepAlivesEnabled(false)
	return e
}

// enrolConn hides the TLS connection's type: net/http would refuse an ALPN name
// that it does not know.
type enrolConn struct {
	net.Conn
	state tls.ConnectionState
	from  address
	done  chan struct{}
	once  sync.Once
}

func (c *enrolConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// serve hands a connection over and waits for its end.
func (e *enrolment) serve(t *tls.Conn, from address) {
	_ = t.SetDeadline(time.Time{}) // the HTTP server sets its own; fails only on a closed connection
	c := &enrolConn{Conn: t, state: t.ConnectionState(), from: from, done: make(chan struct{})}
	select {
	case e.conns <- c:
		<-c.done
	case <-e.closed:
	}
}

func (e *enrolment) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(enrolKey{}).(*enrolConn)
		if !ok {
			http.Error(w, "not an enrolment connection", http.StatusInternalServerError)
			return
		}
		defer func() {
			if e.b.caught(recover(), c.RemoteAddr()) {
				panic(http.ErrAbortHandler) // ends this connection without an answer
			}
		}()
		r.TLS = &c.state
		if e.b.guesses.paused(c.from, e.b.opts.Now()) {
			w.Header().Set("Retry-After", strconv.Itoa(int(e.b.opts.Limits.LoginPause.Seconds())))
			http.Error(w, "too many wrong claims from this address: wait", http.StatusTooManyRequests)
			e.b.refused(reasonPaused, c.RemoteAddr(), nil)
			return
		}
		watched := &statusWatch{ResponseWriter: w}
		h.ServeHTTP(watched, r)
		if watched.status == http.StatusUnauthorized || watched.status == http.StatusForbidden {
			e.b.guesses.wrong(c.from, e.b.opts.Now())
			e.b.refused(reasonCredentials, c.RemoteAddr(), fmt.Errorf("enrolment answered %d", watched.status))
		}
	})
}

type statusWatch struct {
	http.ResponseWriter
	status int
}

func (w *statusWatch) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWatch) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (e *enrolment) start() {
	go func() {
		defer close(e.ended)
		_ = e.server.Serve(e) // returns http.ErrServerClosed after stop
	}()
}

func (e *enrolment) stop(ctx context.Context) error {
	err := e.server.Shutdown(ctx)
	<-e.ended
	return err
}

// Accept, Close and Addr make e the HTTP server's listener.
func (e *enrolment) Accept() (net.Conn, error) {
	select {
	case c := <-e.conns:
		return c, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

// Close is called by the HTTP server, perhaps twice.
func (e *enrolment) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

// Addr is the MQTT listener's.
func (e *enrolment) Addr() net.Addr { return e.b.Addr() }
