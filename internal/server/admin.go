package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// serveAdmin answers the command line on a unix socket (0600) in the data
// folder: who may open it may do everything.
func (s *Server) serveAdmin(ctx context.Context) error {
	path := SocketPath(s.o.Data)
	// The lock is ours, so a socket that lies here is of a process that is gone.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /health", answer(func(r *http.Request) (Health, error) { return s.health(), nil }))
	mux.Handle("POST /gateways", changing(s, s.addGateway))
	mux.Handle("POST /gateways/admit", changing(s, s.admitGateway))
	mux.Handle("GET /gateways", answer(s.listGateways))
	mux.Handle("POST /gateways/import", changing(s, s.importGateways))
	mux.Handle("POST /gateways/revoke", changing(s, s.revokeGateway))
	s.adminPlaces(mux)
	s.adminDemo(mux)
	s.adminFigures(mux)
	s.adminArchive(mux)
	mux.Handle("GET /ledger", answer(s.ledger))
	mux.Handle("POST /ledger/verify", answer(s.verify))
	mux.Handle("GET /deadletters", answer(s.deadLetters))
	mux.Handle("GET /deadletters/{id}", answer(s.deadLetter))
	mux.Handle("POST /deadletters/{id}/retry", changing(s, s.retryDeadLetter))
	mux.Handle("DELETE /deadletters/{id}", changing(s, s.dropDeadLetter))
	mux.Handle("GET /rules", answer(s.getRules))
	mux.Handle("PUT /rules", changing(s, s.putRules))
	s.adminPeople(mux)
	srv := &http.Server{Handler: mux, ConnContext: withCaller, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	s.run("admin socket", func(context.Context) error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	s.closers.Add("admin socket's listener", srv.Shutdown)
	return nil
}

// answer turns a function into a handler: its value as JSON, its error as one
// sentence.
func answer[T any](f func(*http.Request) (T, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		if err != nil {
			status := http.StatusBadRequest
			if errors.Is(err, fs.ErrNotExist) {
				status = http.StatusNotFound
			}
			w.WriteHeader(status)
			_ = enc.Encode(failure{err.Error()}) // the asker may be gone
			return
		}
		_ = enc.Encode(v) // likewise
	})
}

func decode[T any](r *http.Request) (v T, err error) {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, fmt.Errorf("read the request: %w", err)
	}
	return v, nil
}

func (s *Server) addGateway(r *http.Request) (Claim, error) {
	add, err := decode[AddGateway](r)
	if err != nil {
		return Claim{}, err
	}
	if add.Group == "" {
		add.Group = add.District
	}
	node, err := telemetry.ParseNode(add.Group + "/" + add.Name)
	if err != nil {
		return Claim{}, fmt.Errorf("%w (give --district, or --group, and --name)", err)
	}
	claim, err := s.authority.Claim(r.Context(), registry.Gateway{Node: node, Name: add.Name, District: add.District, Site: add.Site, Simulated: add.Simulated})
	if err == nil {
		err = s.tell(r, "gateway.add", node.String(), fmt.Sprintf("district %q, site %q%s", add.District, add.Site, orEmpty(add.Simulated, ", simulated")))
	}
	if err != nil {
		return Claim{}, err
	}
	server := s.o.MQTT.Listen
	if b := s.gate.Load(); b != nil && b.Addr() != nil {
		server = b.Addr().String()
	}
	if len(s.o.MQTT.Names) > 0 {
		if _, port, err := net.SplitHostPort(server); err == nil {
			server = net.JoinHostPort(s.o.MQTT.Names[0], port)
		}
	}
	return Claim{Node: node.String(), Code: claim.Code, Server: server, Expires: claim.Expires}, nil
}

func (s *Server) listGateways(*http.Request) ([]Gateway, error) {
	out := []Gateway{}
	for _, g := range s.registry.Gateways() {
		out = append(out, Gateway{Node: g.Node.String(), District: g.District, Site: g.Site, Credential: string(g.Credential), Expires: g.Expires, State: s.state(g), Simulated: g.Simulated})
	}
	return out, nil
}

func (s *Server) importGateways(r *http.Request) (ImportResult, error) {
	how := registry.Importing{Dry: r.URL.Query().Get("dry") != "", Simulated: r.URL.Query().Get("simulated") != ""}
	result, err := s.registry.Import(r.Context(), r.Body, how)
	if err == nil && !how.Dry && result.Imported > 0 {
		err = s.tell(r, "gateway.import", "", fmt.Sprintf("%d gateways%s", result.Imported, orEmpty(how.Simulated, ", simulated")))
	}
	if err != nil {
		return ImportResult{}, err
	}
	return ImportResult{Imported: result.Imported, Errors: result.Errors}, nil
}

func (s *Server) revokeGateway(r *http.Request) (Done, error) {
	ref, err := decode[NodeRef](r)
	if err != nil {
		return Done{}, err
	}
	node, err := telemetry.ParseNode(ref.Node)
	if err != nil {
		return Done{}, err
	}
	if err := s.registry.Revoke(r.Context(), node); err != nil {
		return Done{}, err
	}
	if err := s.tell(r, "gateway.revoke", node.String(), ""); err != nil {
		return Done{}, err
	}
	return Done{fmt.Sprintf("gateway %s is revoked; its connection is cut", node)}, nil
}

func (s *Server) ledger(*http.Request) (Ledger, error) {
	out := Ledger{Total: row("all", s.ingest.Ledger()), Gateways: []LedgerRow{}}
	for _, g := range s.ingest.LedgerNodes() {
		out.Gateways = append(out.Gateways, row(g.Node.String(), g.Totals))
	}
	return out, nil
}

func row(name string, t ingest.Totals) LedgerRow {
	r := LedgerRow{Node: name, Expected: t.Expected, Stored: t.Stored, Rejected: t.Rejected, DeadLetters: t.DeadLetters, Lost: t.Lost, Missing: t.Missing}
	for reason, n := range t.LostBy {
		if r.LostBy == nil {
			r.LostBy = map[string]uint64{}
		}
		r.LostBy[string(reason)] = n
	}
	return r
}

func (s *Server) verify(r *http.Request) (ingest.Report, error) {
	// What was acknowledged before the question is to be in the database.
	head := s.ingest.Status(r.Context()).Head
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for s.ingest.Status(r.Context()).Readers[0].Durable < head {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return ingest.Report{}, fmt.Errorf("wait for the store: %w", r.Context().Err())
		}
	}
	return s.ingest.Verify(r.Context(), r.Body)
}

func (s *Server) deadLetters(r *http.Request) ([]DeadLetter, error) {
	letters, err := s.ingest.DeadLetters(r.Context())
	if err != nil {
		return nil, err
	}
	out := []DeadLetter{}
	for i := range letters {
		d := letter(&letters[i])
		d.Payload = nil
		out = append(out, d)
	}
	return out, nil
}

func letter(l *ingest.Letter) DeadLetter {
	return DeadLetter{ID: l.Key, Received: time.Unix(0, l.Received).UTC(), Node: l.Node.String(), Topic: l.Topic,
		Reason: string(l.Reason), Detail: l.Error, Payload: l.Payload}
}

func (s *Server) deadLetter(r *http.Request) (DeadLetter, error) {
	l, err := s.ingest.DeadLetter(r.Context(), r.PathValue("id"))
	if err != nil {
		return DeadLetter{}, err
	}
	return letter(&l), nil
}

func (s *Server) retryDeadLetter(r *http.Request) (Done, error) {
	id := r.PathValue("id")
	if err := s.ingest.RetryDeadLetter(r.Context(), id); err != nil {
		return Done{}, err
	}
	if err := s.tell(r, "deadletter.retry", id, ""); err != nil {
		return Done{}, err
	}
	return Done{"dead letter " + id + " is in the database now"}, nil
}

func (s *Server) dropDeadLetter(r *http.Request) (Done, error) {
	id := r.PathValue("id")
	l, err := s.ingest.DeadLetter(r.Context(), id)
	if err == nil {
		err = s.ingest.DropDeadLetter(r.Context(), id)
	}
	if err == nil { // the log is all that is left of it
		err = s.tell(r, "deadletter.drop", id, fmt.Sprintf("of %s, %s: %s", l.Node, l.Reason, l.Error))
	}
	if err != nil {
		return Done{}, err
	}
	return Done{"dead letter " + id + " is gone for good; the ledger goes on to count it"}, nil
}

func (s *Server) getRules(*http.Request) ([]alert.Rule, error) {
	s.alarmsMu.Lock()
	defer s.alarmsMu.Unlock()
	rules, _ := s.alarms.InForce()
	return rules, nil
}

// maxRules bounds the text of all alert rules; one journal entry holds it.
const maxRules = 512 << 10

func (s *Server) putRules(r *http.Request) (Done, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRules+1))
	if err != nil {
		return Done{}, fmt.Errorf("read the rules: %w", err)
	}
	if len(body) > maxRules {
		return Done{}, fmt.Errorf("the rules are longer than %d bytes", maxRules)
	}
	if err := s.setRules(r.Context(), body); err != nil {
		return Done{}, err
	}
	if err := s.tell(r, "rules.set", "alerts", string(body)); err != nil {
		return Done{}, err
	}
	return Done{"the rules hold for what follows"}, nil
}
