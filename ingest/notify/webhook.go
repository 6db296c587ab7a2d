package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// Webhook posts a message as JSON to one address. The body is signed: header
// Pantau-Signature is "sha256=" and the hexadecimal HMAC-SHA256 of
// "<Pantau-Timestamp>.<body>"; Idempotency-Key is the message's id.
//
// Targets are https, and resolve to no private, loopback or link-local address
// unless Allow lists it; only listed targets may be plain http. Redirects are
// not followed; an answer must come within 5 s; 64 KiB of it are read.
type Webhook struct {
	name   string
	url    string
	secret []byte
	client *http.Client
}

// NewWebhook checks the target and returns the channel.
func NewWebhook(name, target string, secret []byte, allow []netip.Prefix) (*Webhook, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("webhook %s: %w", name, err)
	}
	if u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fmt.Errorf("webhook %s: %q is no https address", name, u.Redacted())
	}
	if u.Scheme == "http" && len(allow) == 0 {
		return nil, fmt.Errorf("webhook %s: %q is sent in the clear: want https, or list the target's network under allow", name, u.Redacted())
	}
	if len(secret) < 16 {
		return nil, fmt.Errorf("webhook %s: the secret has %d bytes, at least 16 are needed to sign", name, len(secret))
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		return permitted(address, u.Scheme == "https", allow)
	}}
	return &Webhook{name: name, url: target, secret: secret, client: &http.Client{
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DialContext: dialer.DialContext, MaxIdleConns: 1, IdleConnTimeout: time.Minute},
	}}, nil
}

var errTarget = errors.New("this target is not allowed: list its network under allow")

// permitted judges the resolved address, so that a name can't smuggle one in.
func permitted(address string, tls bool, allow []netip.Prefix) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("webhook address %q: %w", address, err)
	}
	ip := at.Addr().Unmap()
	for _, p := range allow {
		if p.Contains(ip) {
			return nil
		}
	}
	if !tls || !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
		return fmt.Errorf("%s: %w", ip, errTarget)
	}
	return nil
}

// Name returns the channel's name.
func (w *Webhook) Name() string { return w.name }

// Send posts the message.
func (w *Webhook) Send(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write webhook message %s: %w: %w", m.ID, err, ErrRefused)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook %s: %w", w.name, err)
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, w.secret)
	fmt.Fprintf(mac, "%s.%s", stamp, body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", m.ID)
	req.Header.Set("Pantau-Timestamp", stamp)
	req.Header.Set("Pantau-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("webhook %s: %w", w.name, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return fmt.Errorf("webhook %s: read its answer: %w", w.name, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("webhook %s answered %s", w.name, resp.Status)
	}
	return nil
}
