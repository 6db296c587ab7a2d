package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// checkLoopback accepts loopback addresses and "localhost" only.
func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return errors.New("without TLS only a loopback address is allowed, for example 127.0.0.1:1883")
	}
	return nil
}

func checkTLS(c *tls.Config) error {
	switch {
	case c == nil:
		return errors.New("is not set, but Listen is")
	case c.MinVersion != 0 && c.MinVersion < tls.VersionTLS12:
		return fmt.Errorf("MinVersion is %s: want TLS 1.2 or later", tls.VersionName(c.MinVersion))
	case c.MaxVersion != 0 && c.MaxVersion < tls.VersionTLS12:
		return fmt.Errorf("MaxVersion is %s: want TLS 1.2 or later", tls.VersionName(c.MaxVersion))
	case c.ClientCAs == nil:
		return errors.New("ClientCAs is not set: client certificates could not be verified")
	case len(c.Certificates) == 0 && c.GetCertificate == nil:
		return errors.New("has no certificate: set Certificates or GetCertificate")
	case c.GetConfigForClient != nil:
		return errors.New("GetConfigForClient is the broker's: use GetCertificate to change the certificate")
	case c.InsecureSkipVerify:
		return errors.New("InsecureSkipVerify is set")
	}
	return nil
}

// serverTLS derives the configurations of the one port: MQTT, where a client
// certificate is verified if it is given (a maker's device may use a password),
// and enrolment, where it is only asked for (an expired one may renew: the
// handler judges it).
func serverTLS(c *tls.Config, enrol bool) *tls.Config {
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	if c.CipherSuites == nil {
		c.CipherSuites = authenticated()
	}
	if c.ClientAuth != tls.RequireAndVerifyClientCert {
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	c.NextProtos = []string{mqttProtocol}
	if !enrol {
		return c
	}
	e := c.Clone()
	e.ClientAuth = tls.RequestClientCert
	e.NextProtos = []string{EnrolProtocol}
	e.SessionTicketsDisabled = true // a resumed session would bring an unverified certificate
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, EnrolProtocol) {
			return e, nil
		}
		return nil, nil
	}
	return c
}

// authenticated lists the suites of TLS 1.2 that authenticate what they encrypt
// (AEAD, RFC 9325 §4.2); Go's list still ends with CBC. Those of TLS 1.3 all do.
func authenticated() []uint16 {
	var out []uint16
	for _, s := range tls.CipherSuites() {
		if strings.Contains(s.Name, "_ECDHE_") && !strings.Contains(s.Name, "_CBC_") {
			out = append(out, s.ID)
		}
	}
	return out
}

// accept takes connections until the listener is closed. An error, such as
// EMFILE, costs a pause, not the listener.
func (b *Broker) accept(l net.Listener, secure bool) {
	pause := 5 * time.Millisecond
	for {
		raw, err := l.Accept()
		if err != nil {
			if b.stopping.Load() || errors.Is(err, net.ErrClosed) {
				return
			}
			b.metrics.acceptErrors.Inc()
			b.log("accept", "accept failed, trying again", err)
			wait := time.NewTimer(pause)
			select {
			case <-wait.C:
			case <-b.halted:
				wait.Stop()
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		from := addressOf(raw.RemoteAddr())
		if !b.half.enter(from) {
			b.refused(reasonHalfOpen, raw.RemoteAddr(), nil)
			_ = raw.Close() // nothing was promised to it
			continue
		}
		b.serving.Add(1)
		go b.serve(raw, secure, from)
	}
}

// serve owns one connection from accept to close.
func (b *Broker) serve(raw net.Conn, secure bool, from address) {
	defer b.serving.Done()
	defer b.track(raw)()
	half := true
	loggedIn := func() {
		if half {
			half = false
			b.half.leave(from)
		}
	}
	defer loggedIn()
	defer func() { b.caught(recover(), raw.RemoteAddr()) }()
	ctx, cancel := context.WithTimeout(context.Background(), b.opts.Limits.ConnectTime)
	defer cancel()
	deadline, _ := ctx.Deadline()
	_ = raw.SetDeadline(deadline) // fails only on a closed connection
	d := door{journal: b.opts.Journal, authority: b.opts.Authority, from: from, open: b.opts.Open, secure: secure}
	var c = raw
	if secure {
		t := tls.Server(raw, b.tlsConfig)
		if err := t.HandshakeContext(ctx); err != nil {
			reason := reasonTLS
			if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
				reason = reasonConnectTime
			}
			b.refused(reason, raw.RemoteAddr(), err)
			return
		}
		state := t.ConnectionState()
		if state.NegotiatedProtocol == EnrolProtocol {
			b.enrol.serve(t, from)
			return
		}
		if len(state.PeerCertificates) > 0 {
			d.certificate = state.PeerCertificates[0]
		}
		c = t
	}
	b.serveMQTT(ctx, c, raw, d, loggedIn)
}

// serveMQTT logs the client in and serves its session.
func (b *Broker) serveMQTT(ctx context.Context, c, raw net.Conn, d door, loggedIn func()) {
	cn := &conn{Conn: c, raw: raw, b: b, limit: b.opts.Limits.ConnectBytes}
	s, err := b.login(ctx, cn, d)
	if err != nil {
		b.refused(err.reason, raw.RemoteAddr(), err.cause)
		cn.refuse(err.code)
		return
	}
	loggedIn()
	defer func() {
		close(s.quit)
		<-s.written
		if !s.isCut() {
			_ = cn.Conn.Close() // with TLS's goodbye; its error helps nobody
		}
	}()
	go s.acknowledge()
	defer func() {
		if b.opts.Open != nil { // the will still has to reach the subscribers
			late, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			s.drain(late.Done(), nil)
		}
	}()
	defer b.unregister(s)
	defer b.forget(s)
	defer s.sendWill()
	defer func() {
		if p := recover(); b.caught(p, raw.RemoteAddr()) {
			s.fail() // the journal may not have got what the queue says: no PUBACK any more
			s.cut(reasonPanic, nil)
		}
	}()
	if err := b.takeOver(s); err != nil {
		s.will = nil
		b.refused(reasonBusy, raw.RemoteAddr(), err)
		cn.refuse(connackUnavailable)
		return
	}
	cn.s = s
	cn.begin()
	b.opts.Logger.Debug("session begins", "client", s.client, "remote", s.remote, "session", s.id)
	_ = b.server.EstablishConnection(listenerID, cn) // its error is how the connection ended, which conn has told
}

// caught counts and logs a recovered panic; p is nil if there was none.
func (b *Broker) caught(p any, remote net.Addr) bool {
	if p == nil {
		return false
	}
	b.metrics.panics.Inc()
	b.opts.Logger.Error("panic while serving a client, which is cut; this is a bug",
		"remote", remote.String(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return true
}

// refuse answers CONNECT with a return code (none for 0), then waits a little
// for the client to close: closing over unread bytes would destroy the answer.
func (c *conn) refuse(code byte) {
	if code != 0 {
		if _, err := c.Conn.Write([]byte{byte(typeConnack) << 4, 2, 0, code}); err == nil {
			if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
				_ = c.Conn.SetReadDeadline(time.Now().Add(min(time.Second, c.b.opts.Limits.ConnectTime)))
				_, _ = io.CopyN(io.Discard, c.Conn, int64(c.b.opts.Limits.ConnectBytes))
			}
		}
	}
	_ = c.Conn.Close() // nothing follows
}

// track counts an open connection and remembers it for the stop; the returned
// function closes and forgets it.
func (b *Broker) track(raw net.Conn) func() {
	b.mu.Lock()
	b.conns[raw] = struct{}{}
	b.mu.Unlock()
	b.metrics.connections.Inc()
	if b.stopping.Load() {
		_ = raw.Close() // it came through while the listener was being closed
	}
	return func() {
		_ = raw.Close() // usually the second time
		b.mu.Lock()
		delete(b.conns, raw)
		b.mu.Unlock()
		b.metrics.connections.Dec()
	}
}

func (b *Broker) refused(reason string, remote net.Addr, err error) {
	b.metrics.refused.WithLabelValues(reason).Inc()
	b.log(reason, "connection refused", err, slog.String("remote", remote.String()))
}
