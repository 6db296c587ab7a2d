package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Credential is how a node proves who it is.
type Credential string

// The kinds of credential.
const (
	Unclaimed   Credential = "unclaimed"
	Certificate Credential = "certificate"
	Password    Credential = "password"
)

// Gateway is one registered node: a gateway of ours or any other Sparkplug node.
type Gateway struct {
	Node       telemetry.Node `json:"node"`
	Name       string         `json:"name,omitempty"`     // for people
	District   string         `json:"district,omitempty"` // BPS code
	Site       string         `json:"site,omitempty"`     // code of the place where it hangs
	Credential Credential     `json:"credential"`
	Key        string         `json:"key,omitempty"`      // SHA-256 of the certificate's public key (SPKI), hexadecimal
	OldKey     string         `json:"old_key,omitempty"`  // the one before a renewal, until the new one is used
	Expires    time.Time      `json:"expires,omitzero"`   // end of the newest certificate
	Password   string         `json:"password,omitempty"` // argon2id
	Claim      *Claim         `json:"claim,omitempty"`    // the newest; older ones are void
	Revoked    bool           `json:"revoked,omitempty"`
	Created    time.Time      `json:"created"`
}

// KV is the durable store.
type KV interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	List(ctx context.Context, prefix string) (map[string][]byte, error)
	Watch(ctx context.Context, prefix string, fn func(key string, value []byte, revision uint64)) error
}

// Options of a Registry.
type Options struct {
	KV     KV
	Logger *slog.Logger
	Now    func() time.Time // default time.Now
	// Revoked is called when what a node has shown at its login is no longer good
	// (revoked, claimed anew, other password): cut its connection. By then the
	// change is durable and logins obey it. It must not block.
	Revoked func(telemetry.Node)
	// Misuse is called when a used claim is tried with another key: somebody has
	// a copy of it. It must not block.
	Misuse func(telemetry.Node, error)
}

// Registry is the open registry.
type Registry struct {
	o      Options
	proofs proofs
	used   chan use // logins by a renewed key
	cancel context.CancelFunc
	loops  sync.WaitGroup

	mu       sync.RWMutex
	gateways map[telemetry.Node]Gateway
	claims   map[string]telemetry.Node // by Claim.Hash
	sites    map[string]Site
	seen     map[string]uint64 // revision by key, so that an older echo of the watch changes nothing
}

const gatewayPrefix = "gateway/"

func gatewayKey(n telemetry.Node) string { return gatewayPrefix + n.String() }

// Open reads the registry and follows its changes until Close.
func Open(ctx context.Context, o Options) (*Registry, error) {
	if o.KV == nil {
		return nil, errors.New("registry option KV is not set")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	r := &Registry{
		o: o, used: make(chan use, 64),
		gateways: map[telemetry.Node]Gateway{}, claims: map[string]telemetry.Node{}, sites: map[string]Site{}, seen: map[string]uint64{},
	}
	if err := r.proofs.init(); err != nil {
		return nil, fmt.Errorf("open the registry: %w", err)
	}
	all, err := o.KV.List(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", err)
	}
	for key, value := range all {
		r.learn(key, value, 0)
	}
	follow, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	r.loops.Go(func() { r.follow(follow) })
	r.loops.Go(func() { r.retireKeys(follow) })
	return r, nil
}

// Close ends following.
func (r *Registry) Close(ctx context.Context) error {
	r.cancel()
	done := make(chan struct{})
	go func() {
		r.loops.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow learns what other processes change.
func (r *Registry) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.o.KV.Watch(ctx, "", r.learn)
		if err == nil || ctx.Err() != nil {
			continue
		}
		r.o.Logger.Error("following the registry was interrupted", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// learn takes one value of the store.
func (r *Registry) learn(key string, value []byte, revision uint64) {
	var err error
	cut := telemetry.Node{}
	r.mu.Lock()
	if revision >= r.seen[key] {
		r.seen[key] = revision
		name, gateway := strings.CutPrefix(key, gatewayPrefix)
		code, site := strings.CutPrefix(key, sitePrefix)
		switch {
		case gateway:
			cut, err = r.learnGateway(name, value)
		case site:
			err = r.learnSite(code, value)
		}
	}
	r.mu.Unlock()
	if err != nil {
		r.o.Logger.Error("the registry holds an entry that can't be read; what was known of it stays", "key", key, "error", err)
	}
	if !cut.IsZero() {
		r.proofs.forget(cut)
		if r.o.Revoked != nil {
			r.o.Revoked(cut)
		}
	}
}

// learnGateway returns the node whose login is no longer good, if that is so.
func (r *Registry) learnGateway(name string, value []byte) (cut telemetry.Node, err error) {
	node, err := telemetry.ParseNode(name)
	if err != nil {
		return cut, err
	}
	var g Gateway
	if value != nil {
		if err := json.Unmarshal(value, &g); err != nil {
			return cut, err
		}
	}
	old := r.gateways[node]
	if old.Claim != nil {
		delete(r.claims, old.Claim.Hash)
	}
	if g.Claim != nil {
		r.claims[g.Claim.Hash] = node
	}
	if value == nil {
		delete(r.gateways, node)
	} else {
		r.gateways[node] = g
	}
	byKey := old.Key != "" && g.allows(old.Key) != nil && g.allows(old.OldKey) != nil
	if byKey || old.Password != "" && (g.Revoked || g.Password != old.Password) {
		return node, nil
	}
	return cut, nil
}

// Gateways lists all nodes, by name.
func (r *Registry) Gateways() []Gateway {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]Gateway, 0, len(r.gateways))
	for _, g := range r.gateways {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b Gateway) int { return strings.Compare(a.Node.String(), b.Node.String()) })
	return out
}

// Gateway finds one node.
func (r *Registry) Gateway(n telemetry.Node) (Gateway, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g, ok := r.gateways[n]
	return g, ok
}

// change reads a node's entry, lets f change it, and writes it; somebody else's
// change in between makes it start again. A node that is not there is the zero
// Gateway.
func (r *Registry) change(ctx context.Context, n telemetry.Node, f func(*Gateway) error) error {
	key := gatewayKey(n)
	for {
		value, revision, err := r.o.KV.Get(ctx, key)
		absent := errors.Is(err, fs.ErrNotExist)
		if err != nil && !absent {
			return fmt.Errorf("read gateway %s: %w", n, err)
		}
		var g Gateway
		if !absent {
			if err := json.Unmarshal(value, &g); err != nil {
				return fmt.Errorf("read gateway %s: %w", n, err)
			}
		}
		if err := f(&g); err != nil {
			return err
		}
		body, err := json.Marshal(g)
		if err != nil {
			return fmt.Errorf("write gateway %s: %w", n, err)
		}
		if absent {
			revision, err = r.o.KV.Create(ctx, key, body)
		} else {
			revision, err = r.o.KV.Update(ctx, key, body, revision)
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write gateway %s: %w", n, err)
		}
		r.learn(key, body, revision)
		return nil
	}
}

// check validates what people typed and fills in what follows from it.
func (r *Registry) check(g *Gateway) error {
	if _, err := telemetry.ParseNode(g.Node.String()); err != nil {
		return err
	}
	if g.District == "" {
		if _, ok := FindDistrict(g.Node.Group); ok {
			g.District = g.Node.Group
		}
	}
	if err := checkDistrict(g.District); g.District != "" && err != nil {
		return err
	}
	if g.Site != "" {
		if err := r.checkSiteOf(g); err != nil {
			return err
		}
	}
	return nil
}

func checkDistrict(code string) error {
	if _, ok := FindDistrict(code); !ok {
		return fmt.Errorf("district %q: want the BPS code of a kabupaten or kota of Jawa Tengah, for example 3374", code)
	}
	return nil
}

// Revoke ends a node's credentials and claims; its live connection is cut by
// the callback. A new claim lets it in again.
func (r *Registry) Revoke(ctx context.Context, n telemetry.Node) error {
	err := r.change(ctx, n, func(g *Gateway) error {
		if g.Node.IsZero() {
			return fmt.Errorf("revoke %s: no such gateway: %w", n, fs.ErrNotExist)
		}
		g.Revoked, g.Key, g.OldKey, g.Password, g.Claim, g.Expires = true, "", "", "", nil, time.Time{}
		return nil
	})
	if err != nil {
		return err
	}
	r.o.Logger.Info("gateway revoked", "node", n)
	return nil
}

// use is a login by a key.
type use struct {
	node telemetry.Node
	key  string
}

// retireKeys drops the old key of nodes that have logged in with the new one.
// Logins do not wait for it.
func (r *Registry) retireKeys(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-r.used:
			served := func(g *Gateway) bool { return g.OldKey != "" && g.Key == u.key }
			if g, _ := r.Gateway(u.node); !served(&g) {
				continue
			}
			err := r.change(ctx, u.node, func(g *Gateway) error {
				if served(g) { // not renewed once more meanwhile
					g.OldKey = ""
				}
				return nil
			})
			if err != nil && ctx.Err() == nil {
				r.o.Logger.Warn("an old key stays good until the next login", "node", u.node, "error", err)
			}
		}
	}
}
