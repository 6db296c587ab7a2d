package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/pantau-id/pantau/internal/audit"
)

// ErrNoServer says that nothing answers on the admin socket.
var ErrNoServer = errors.New("no server answers")

// SocketPath is the admin socket of a data folder.
func SocketPath(data string) string { return filepath.Join(data, "admin.sock") }

// Client talks to a running server through its admin socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the server that works in the data folder.
func NewClient(data string) *Client {
	path := SocketPath(data)
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", path)
			if err != nil {
				return nil, fmt.Errorf("%w on %s: is `pantau serve --data %s` running, and may you open the socket? (%w)", ErrNoServer, path, data, err)
			}
			return conn, nil
		},
	}}}
}

// Call sends body (nil, an io.Reader as it is, or a value as JSON) and decodes
// the answer into out.
func (c *Client) Call(ctx context.Context, method, path string, body, out any) error {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("write request: %w", err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://pantau"+path, r)
	if err != nil {
		return fmt.Errorf("admin request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := new(url.Error); errors.As(err, &cause) {
			err = cause.Err // the address that it names is not one to people
		}
		return fmt.Errorf("ask the server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var f failure
		if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Error == "" {
			return fmt.Errorf("the server answered %s", resp.Status)
		}
		return errors.New(f.Error)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// The admin socket's requests and answers, as JSON.
type (
	failure struct {
		Error string `json:"error"`
	}
	// Done says in words what was done.
	Done struct {
		Message string `json:"message"`
	}
	// AuditPage is some records of the audit log, newest first.
	AuditPage struct {
		Records []audit.Record `json:"records"`
		Next    uint64         `json:"next,omitempty"` // "before" of the next page; 0 = there is none
	}
	// NodeRef and UserRef name what a request is about.
	NodeRef struct {
		Node string `json:"node"`
	}
	UserRef struct {
		Name         string   `json:"name"`
		Grants       []string `json:"grants,omitempty"`        // ROLE[:DISTRICT[:KIND]]; to add, give or take
		SecondFactor bool     `json:"second_factor,omitempty"` // with a reset: remove it, too
	}
	// User is one account.
	User struct {
		Name     string    `json:"name"`
		Grants   []string  `json:"grants"`
		SignsIn  string    `json:"signs_in"` // password, password and code, identity provider
		Disabled time.Time `json:"disabled,omitzero"`
	}
	// Health says whether gateways can connect, and what is wrong otherwise.
	Health struct {
		Ready     bool              `json:"ready"`
		Problems  []string          `json:"problems,omitempty"`
		Addresses map[string]string `json:"addresses,omitempty"`
		Version   string            `json:"version"`
	}
	// AddGateway registers one gateway.
	AddGateway struct {
		Group    string `json:"group,omitempty"`
		Name     string `json:"name"`
		District string `json:"district,omitempty"`
		Site     string `json:"site,omitempty"`
		// Simulated: nothing of it is real. Refused where real gateways are registered.
		Simulated bool `json:"simulated,omitempty"`
	}
	// Claim is the one-time code for a gateway.
	Claim struct {
		Node    string    `json:"node"`
		Code    string    `json:"code"`
		Server  string    `json:"server"`
		Expires time.Time `json:"expires"`
	}
	// ImportResult counts imported gateways, or names each wrong cell.
	ImportResult struct {
		Imported int      `json:"imported"`
		Errors   []string `json:"errors,omitempty"`
	}
	// Gateway is one registered node.
	Gateway struct {
		Node       string    `json:"node"`
		District   string    `json:"district,omitempty"`
		Site       string    `json:"site,omitempty"`
		Credential string    `json:"credential"`
		Expires    time.Time `json:"expires,omitzero"` // end of its certificate
		State      string    `json:"state"`            // online, offline, unknown, revoked
		Simulated  bool      `json:"simulated,omitempty"`
	}
	// LedgerRow counts record numbers of one gateway, or of all.
	LedgerRow struct {
		Node        string            `json:"node"`
		Expected    uint64            `json:"expected"`
		Stored      uint64            `json:"stored"`
		Rejected    uint64            `json:"rejected"`
		DeadLetters uint64            `json:"dead_letters"`
		Lost        uint64            `json:"lost"`
		LostBy      map[string]uint64 `json:"lost_by,omitempty"`
		Missing     uint64            `json:"missing"`
	}
	// Ledger is the answer to "is anything missing?".
	Ledger struct {
		Total    LedgerRow   `json:"total"`
		Gateways []LedgerRow `json:"gateways"`
	}
	// DeadLetter is what could not be decoded or stored.
	DeadLetter struct {
		ID       string    `json:"id"`
		Received time.Time `json:"received"`
		Node     string    `json:"node"`
		Topic    string    `json:"topic"`
		Reason   string    `json:"reason"`
		Detail   string    `json:"detail"`
		Payload  []byte    `json:"payload,omitempty"`
	}
)
