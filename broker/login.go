package broker

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Return codes of CONNACK (§3.2.2.3).
const (
	connackVersion     = 1
	connackIdentifier  = 2
	connackUnavailable = 3
	connackRefused     = 5
)

// maxChecking bounds the passwords checked at a time: a good hash is dear.
const maxChecking = 4

// door is what the way in tells about a client.
type door struct {
	journal     Journal
	authority   Authority
	certificate *x509.Certificate
	from        address
	open        *Open
	secure      bool
}

// refusal is why a client does not get in. Code 0 closes without CONNACK.
type refusal struct {
	code   byte
	reason string
	cause  error
}

func refuse(code byte, reason, format string, args ...any) *refusal {
	return &refusal{code, reason, fmt.Errorf(format, args...)}
}

// login reads CONNECT, asks the authority, and registers the session.
func (b *Broker) login(ctx context.Context, cn *conn, d door) (*session, *refusal) {
	c, no := cn.readConnect()
	if no != nil {
		return nil, no
	}
	if b.stopping.Load() {
		return nil, refuse(connackUnavailable, reasonStopping, "%w", errStopping)
	}
	if err := d.journal.Err(); err != nil { // gateways wait a minute or more after this answer
		return nil, refuse(connackUnavailable, reasonJournal, "the journal takes nothing: %w", err)
	}
	s := b.newSession(cn, d.journal)
	s.client, s.clean, s.keepAlive, s.will = c.clientID, c.clean, c.keepAlive, c.will
	b.mu.Lock()
	barred := b.barred[c.clientID]
	b.mu.Unlock()
	if d.open != nil {
		no = b.admitAnyone(s, d.open)
	} else {
		no = b.admit(ctx, s, c, d)
	}
	if no != nil {
		return nil, no
	}
	if s.will != nil && !s.rules.mayWill(s.will.topic) {
		return nil, refuse(connackRefused, reasonWill, "will to %q: a node's will goes to its own NDEATH", s.will.topic)
	}
	if s.will != nil && s.will.qos > 1 && d.open == nil {
		return nil, refuse(connackRefused, reasonWill, "will with QoS %d: at most 1 is taken", s.will.qos)
	}
	return s, b.register(s, barred)
}

// readConnect reads the first packet.
func (c *conn) readConnect() (*connect, *refusal) {
	c.buf = make([]byte, readBuffer)
	f, err := c.next()
	if err == nil && f.kind != typeConnect {
		err = firstPacket
	}
	var parsed *connect
	if err == nil {
		parsed, err = parseConnect(f.body)
	}
	var bad violation
	switch {
	case err == nil:
		return parsed, nil
	case errors.As(err, &bad) && bad == badVersion:
		return nil, &refusal{connackVersion, string(bad), errors.New("want MQTT 3.1.1")}
	case errors.As(err, &bad):
		return nil, &refusal{0, string(bad), nil}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{0, reasonConnectTime, nil}
	}
	return nil, &refusal{0, reasonClosed, err}
}

// admit lets in whom the authority knows.
func (b *Broker) admit(ctx context.Context, s *session, c *connect, d door) *refusal {
	l := &b.opts.Limits
	keepAlive := time.Duration(c.keepAlive) * time.Second
	switch {
	case c.clientID == "":
		return refuse(connackIdentifier, reasonClientID, "no client id")
	case !c.clean:
		return refuse(connackRefused, reasonCleanSession, "clean session is 0: sessions are not kept, ask for 1")
	case keepAlive == 0 || keepAlive > l.KeepAliveMax:
		return refuse(connackRefused, reasonKeepAlive, "keep-alive is %v: want it above 0 and at most %v", keepAlive, l.KeepAliveMax)
	case d.certificate == nil && (c.user == "" || len(c.password) == 0):
		return refuse(connackRefused, reasonCredentials, "neither a certificate nor user name and password")
	}
	if d.certificate == nil {
		// Only guesses at passwords wait: many gateways may share one address of a
		// mobile network, and a certificate can't be guessed.
		if b.guesses.paused(d.from, b.opts.Now()) {
			return refuse(connackUnavailable, reasonPaused, "%d wrong logins within a minute", l.WrongLoginsPerMinute)
		}
		select {
		case b.checking <- struct{}{}:
			defer func() { <-b.checking }()
		case <-ctx.Done():
			return refuse(connackUnavailable, reasonBusy, "too many logins at a time: %w", ctx.Err())
		}
	}
	node, err := d.authority.Authenticate(ctx, Credentials{ClientID: c.clientID, Username: c.user, Password: c.password,
		Certificate: d.certificate, Remote: s.conn.RemoteAddr()})
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return refuse(connackUnavailable, reasonBusy, "log in %q: %w", c.clientID, err)
	case err != nil:
		if d.certificate == nil {
			b.guesses.wrong(d.from, b.opts.Now())
		}
		return refuse(connackRefused, reasonCredentials, "log in %q: %w", c.clientID, err)
	case node.String() != c.clientID:
		// Sessions go by client id alone, so it has to be the node's.
		return refuse(connackIdentifier, reasonClientID, "client id %q is not the node %q", c.clientID, node)
	}
	if _, err := telemetry.ParseNode(c.clientID); err != nil {
		return refuse(connackIdentifier, reasonClientID, "%w", err)
	}
	s.node, s.rules = node, b.rulesOf(node, b.opts.Host)
	// Spread, so that gateways that came together do not leave together.
	s.until = s.since.Add(l.SessionLife - time.Duration(s.id%64)*l.SessionLife/640)
	if d.certificate != nil && d.certificate.NotAfter.Before(s.until) {
		s.until = d.certificate.NotAfter
	}
	return nil
}

// admitAnyone is for Options.Open.
func (b *Broker) admitAnyone(s *session, o *Open) *refusal {
	if s.client == "" {
		if !s.clean { // [MQTT-3.1.3-8]
			return refuse(connackIdentifier, reasonClientID, "no client id, and clean session is 0")
		}
		s.client = "open-" + strconv.FormatUint(s.id, 16) // [MQTT-3.1.3-6]
	}
	s.rules = openRules{o.Deny}
	return nil
}

// register makes s the session of its client, of which there is one; takeOver
// waits for the old one. [tck-id-topic-structure-namespace-unique-edge-node-descriptor]
// [tck-id-intro-edge-node-id-uniqueness] [tck-id-payloads-nbirth-edge-node-descriptor]
func (b *Broker) register(s *session, barred uint64) *refusal {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.sessions[s.client]
	switch {
	case b.stopping.Load():
		return refuse(connackUnavailable, reasonStopping, "%w", errStopping)
	case b.barred[s.client] != barred: // Disconnect came while the authority was thinking
		return refuse(connackRefused, reasonDisconnected, "node was disconnected during its login")
	case old == nil && len(b.sessions) >= b.opts.Limits.Clients:
		return refuse(connackUnavailable, reasonClients, "%d sessions are open", len(b.sessions))
	}
	s.old = old
	b.sessions[s.client] = s
	b.metrics.sessions.Set(float64(len(b.sessions)))
	return nil
}

// takeOver ends the session that the client had before [MQTT-3.1.4-2] and waits
// until nothing more of it can reach the journal: its will comes before our
// first packet, and mochi never has two clients of one id.
func (b *Broker) takeOver(s *session) error {
	old := s.old
	if old == nil {
		return nil
	}
	s.old = nil
	old.cut(reasonTakenOver, nil)
	patience := time.NewTimer(b.opts.Limits.ConnectTime)
	defer patience.Stop()
	select {
	case <-old.ended:
		return nil
	case <-patience.C:
		return fmt.Errorf("the client's older session did not end in %v", b.opts.Limits.ConnectTime)
	}
}

// unregister says that nothing more of s will reach the journal.
func (b *Broker) unregister(s *session) {
	b.mu.Lock()
	if b.sessions[s.client] == s {
		delete(b.sessions, s.client)
		b.metrics.sessions.Set(float64(len(b.sessions)))
	}
	b.mu.Unlock()
	close(s.ended)
	b.opts.Logger.Debug("session ends", "client", s.client, "session", s.id)
}
