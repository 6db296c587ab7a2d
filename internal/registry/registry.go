package registry

import (
	"cmp"
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

	"github.com/pantau-id/pantau/internal/lifecycle"
	"github.com/pantau-id/pantau/internal/places"
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
	// Simulated says that nothing of it is real. It is said when the node is new and
	// stays: what a node says of itself in its birth is only shown.
	Simulated bool      `json:"simulated,omitempty"`
	Created   time.Time `json:"created"`
}

// KV is the durable store.
type KV interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string) (map[string][]byte, error)
	Watch(ctx context.Context, prefix string, fn func(key string, value []byte, revision uint64)) error
}

// Sites are the places where gateways may hang.
type Sites interface {
	Site(code string) (places.Site, bool)
	// NeedSite adds a site if there is none of that code.
	NeedSite(ctx context.Context, code, district string, simulated bool) error
}

// Options of a Registry.
type Options struct {
	KV     KV
	Sites  Sites // nil: no gateway may name one
	Logger *slog.Logger
	Now    func() time.Time // default time.Now
	// Named is called when a node's entry names another site than before ("" =
	// none). It must not block.
	Named func(n telemetry.Node, before, now string)
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
	stack  lifecycle.Stack

	mu       sync.RWMutex
	gateways map[telemetry.Node]Gateway
	spelt    map[string]map[string]int // in lower case: how often groups and nodes are spelt how
	claims   map[string]telemetry.Node // by Claim.Hash
	seen     map[string]uint64         // revision by key, so that an older echo of the watch changes nothing
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
		gateways: map[telemetry.Node]Gateway{}, spelt: map[string]map[string]int{},
		claims: map[string]telemetry.Node{}, seen: map[string]uint64{},
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
	r.stack.Go("following the registry", r.follow)
	r.stack.Go("retiring keys", r.retireKeys)
	return r, nil
}

// Close ends following.
func (r *Registry) Close(ctx context.Context) error { return r.stack.Close(ctx) }

// follow learns what other processes change.
func (r *Registry) follow(ctx context.Context) {
	if err := r.o.KV.Watch(ctx, "", r.learn); err != nil && ctx.Err() == nil {
		r.o.Logger.Error("the registry is followed no more; what is known of it stays", "error", err)
	}
}

// learn takes one value of the store.
func (r *Registry) learn(key string, value []byte, revision uint64) {
	var err error
	var cut telemetry.Node
	var old, now Gateway
	r.mu.Lock()
	if name, gateway := strings.CutPrefix(key, gatewayPrefix); gateway && revision >= r.seen[key] {
		r.seen[key] = revision
		old, now, cut, err = r.learnGateway(name, value)
	}
	r.mu.Unlock()
	if err != nil {
		r.o.Logger.Error("the registry holds an entry that can't be read; what was known of it stays", "key", key, "error", err)
	}
	if r.o.Named != nil && old.Site != now.Site {
		r.o.Named(cmp.Or(now.Node, old.Node), old.Site, now.Site)
	}
	if !cut.IsZero() {
		r.proofs.forget(cut)
		if r.o.Revoked != nil {
			r.o.Revoked(cut)
		}
	}
}

// learnGateway returns the entry before and now, and the node whose login is no
// longer good, if that is so.
func (r *Registry) learnGateway(name string, value []byte) (old, g Gateway, cut telemetry.Node, err error) {
	node, err := telemetry.ParseNode(name)
	if err != nil {
		return old, g, cut, err
	}
	if value != nil {
		if err := json.Unmarshal(value, &g); err != nil {
			return Gateway{}, Gateway{}, cut, err
		}
	}
	old, known := r.gateways[node]
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
	if known != (value != nil) {
		r.spell(node, value != nil)
	}
	byKey := old.Key != "" && g.allows(old.Key) != nil && g.allows(old.OldKey) != nil
	if byKey || old.Password != "" && (g.Revoked || g.Password != old.Password) {
		cut = node
	}
	return old, g, cut, nil
}

// spell notes how a node that came, or went, is spelt. r.mu is held.
func (r *Registry) spell(n telemetry.Node, came bool) {
	for _, s := range []string{n.Group, n.String()} {
		lower := strings.ToLower(s)
		spellings := r.spelt[lower]
		switch {
		case came && spellings == nil:
			r.spelt[lower] = map[string]int{s: 1}
		case came:
			spellings[s]++
		case spellings[s] > 1:
			spellings[s]--
		default:
			delete(spellings, s)
		}
		if len(r.spelt[lower]) == 0 {
			delete(r.spelt, lower)
		}
	}
}

// checkSpelling refuses a new node whose name, or whose group's, differs from
// another's by upper and lower case alone: people would take them for one.
// [tck-id-case-sensitivity-sparkplug-ids]
func (r *Registry) checkSpelling(n telemetry.Node) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, known := r.gateways[n]; known {
		return nil
	}
	for _, s := range []string{n.Group, n.String()} {
		for other := range r.spelt[strings.ToLower(s)] {
			if other != s {
				return fmt.Errorf("node %s: there is %s already, which differs by upper and lower case alone: choose another name", n, other)
			}
		}
	}
	return nil
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
	if err := r.checkSpelling(g.Node); err != nil {
		return err
	}
	if g.District == "" {
		if _, ok := places.FindDistrict(g.Node.Group); ok {
			g.District = g.Node.Group
		}
	}
	if err := checkDistrict(g.District); g.District != "" && err != nil {
		return err
	}
	if g.Simulated {
		if err := r.mayPlay(); err != nil {
			return err
		}
	}
	if g.Site != "" {
		if err := r.checkSiteOf(g); err != nil {
			return err
		}
	}
	return nil
}

func checkDistrict(code string) error {
	if _, ok := places.FindDistrict(code); !ok {
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
