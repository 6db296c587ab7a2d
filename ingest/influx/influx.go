// Package influx is the only place that speaks to InfluxDB: blocking batch
// writes of line protocol, and the reads that the pages, the hour worker and the
// checker need.
//
// It promises that a write is either in the database (nil), refused for good
// (*RefusedError: the same bytes will never be taken), or of unknown fate
// (*UnavailableError: write it again, the points' keys make that harmless).
// Nothing is buffered, retried or dropped in here.
//
// Where data lie: bucket "prefix/raw", "prefix/hours", "prefix/days". In
// InfluxDB 2.x that is the bucket's name, and its InfluxQL finds it as database
// prefix, retention policy raw (a slash in a bucket's name is split so). In 1.8
// it is the retention policy raw of the database prefix, which its /api/v2/write
// addresses by the same "prefix/raw". One naming serves both.
package influx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unsafe"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
)

// Bucket is one of the three places where data lie.
type Bucket string

// The buckets.
const (
	Raw   Bucket = "raw"   // as received
	Hours Bucket = "hours" // rows of an hour
	Days  Bucket = "days"  // rows of a day (WIB)
)

// LongestWrite is how long after its start a write without an answer may still
// land: influxd's own write time-out (coordinator.write-timeout, 10 s by default)
// after our connection gave up, with a margin.
func (c *Client) LongestWrite() time.Duration { return c.o.Timeout + 20*time.Second }

// Options name the database.
type Options struct {
	URL    string // http://127.0.0.1:8086
	Org    string // 2.x: the organisation's name; 1.8 ignores it
	Prefix string // default "pantau"
	// WriteToken writes and cannot read, ReadToken reads and cannot write. 1.8
	// takes "user:password" as a token. Both may be empty where the database asks
	// for none.
	WriteToken string
	ReadToken  string
	Timeout    time.Duration // of one write; default 10 s
	TLS        *tls.Config
	Logger     *slog.Logger
}

// Client speaks to one InfluxDB. Its methods may be called concurrently.
type Client struct {
	o       Options
	writer  influxdb2.Client
	reader  influxdb2.Client
	writes  map[Bucket]api.WriteAPIBlocking
	trans   *http.Transport
	baseURL string
}

// RefusedError says that the database will never take these bytes as they are:
// a type conflict, a line it can't parse, a time outside retention. In 1.8 other
// points of the same write may be stored.
type RefusedError struct {
	Status  int
	Message string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("InfluxDB refuses the write (%d): %s", e.Status, e.Message)
}

// UnavailableError says that the database did not take the write, or did not
// say so: away, slow, overloaded, without the bucket, or it does not know us.
// Hint, if any, tells the operator what to do.
type UnavailableError struct {
	Status     int           // 0 = no answer: the write may still land
	RetryAfter time.Duration // as the database asked; 0 = it did not
	Hint       string
	Err        error
}

func (e *UnavailableError) Error() string {
	s := "InfluxDB is not available: " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// New returns a client. It connects to nothing yet.
func New(o Options) (*Client, error) {
	if o.Prefix == "" {
		o.Prefix = "pantau"
	}
	if strings.ContainsAny(o.Prefix, "/\"\\\n") {
		return nil, fmt.Errorf("InfluxDB prefix %q: it may not hold a slash, a quote, a backslash or a line break", o.Prefix)
	}
	u, err := url.Parse(o.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("InfluxDB URL %q: want http://host:8086 or https://…", o.URL)
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{o: o, writes: map[Bucket]api.WriteAPIBlocking{}, baseURL: strings.TrimSuffix(o.URL, "/")}
	c.trans = &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		DisableCompression: true, // it costs the database more than the wire
		TLSClientConfig:    o.TLS, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	}
	options := func() *influxdb2.Options {
		return influxdb2.DefaultOptions().SetHTTPClient(&http.Client{Transport: c.trans}).SetPrecision(time.Nanosecond).SetApplicationName("pantau")
	}
	c.writer = influxdb2.NewClientWithOptions(c.baseURL, o.WriteToken, options())
	c.reader = influxdb2.NewClientWithOptions(c.baseURL, o.ReadToken, options())
	for _, b := range []Bucket{Raw, Hours, Days} {
		c.writes[b] = c.writer.WriteAPIBlocking(o.Org, c.Name(b))
	}
	return c, nil
}

// Name returns a bucket's full name, "prefix/raw".
func (c *Client) Name(b Bucket) string { return c.o.Prefix + "/" + string(b) }

// Close lets go of idle connections.
func (c *Client) Close() {
	c.writer.Close()
	c.reader.Close()
	c.trans.CloseIdleConnections()
}

// Write writes lines of line protocol in nanoseconds and returns when the
// database has answered. After an error the caller must not change lines any
// more: a connection that timed out may still be reading it.
func (c *Client) Write(ctx context.Context, b Bucket, lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	// WriteRecord takes a string; copying megabytes of points for that is a tenth
	// of the cost of making them.
	err := c.writes[b].WriteRecord(ctx, unsafe.String(unsafe.SliceData(lines), len(lines)))
	return classify(err)
}

// classify sorts the client's errors into ours.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var e *influxhttp.Error
	if !errors.As(err, &e) || e.StatusCode == 0 {
		return &UnavailableError{Err: err}
	}
	message := e.Message
	if h := e.Header.Get("X-Influxdb-Error"); h != "" {
		message = h
	}
	if message == "" {
		message = e.Error()
	}
	u := &UnavailableError{Status: e.StatusCode, RetryAfter: time.Duration(e.RetryAfter) * time.Second,
		Err: fmt.Errorf("status %d: %s", e.StatusCode, message)}
	switch {
	case e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden:
		u.Hint = "check the write token, or user:password for 1.8"
		return u
	case e.StatusCode == http.StatusNotFound, strings.Contains(message, "retention policy not found"):
		u.Hint = "the bucket is missing"
		return u
	case e.StatusCode == http.StatusRequestTimeout, e.StatusCode == http.StatusTooManyRequests, e.StatusCode >= 500:
		return u
	case e.StatusCode >= 400:
		return &RefusedError{Status: e.StatusCode, Message: message}
	}
	return u
}

// Info is what Prepare found.
type Info struct {
	Version string // as the server says; a self-built 1.8 says "unknown"
	Major   int    // 1, 2 or 3
	// Open says that the server answers queries without credentials.
	Open bool
}

// oldest 1.x that is safe: before it an empty shared secret let anybody in
// (CVE-2019-20933).
var oldest = [3]int{1, 7, 6}

// Prepare asks the database who it is, refuses a version below 1.7.6, and makes
// the buckets that are missing. The write token may lack the right to make
// them: the error then says what to make by hand.
func (c *Client) Prepare(ctx context.Context) (Info, error) {
	var info Info
	ctx, cancel := context.WithTimeout(ctx, 2*c.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.baseURL+"/ping", nil)
	if err != nil {
		return info, fmt.Errorf("ask InfluxDB for its version: %w", err)
	}
	resp, err := c.reader.HTTPService().DoHTTPRequestWithResponse(req, nil)
	if err != nil {
		return info, &UnavailableError{Err: fmt.Errorf("ask InfluxDB for its version: %w", err)}
	}
	defer resp.Body.Close()
	info.Version = resp.Header.Get("X-Influxdb-Version")
	number, known := parseVersion(info.Version)
	info.Major = 1
	if known {
		info.Major = number[0]
	}
	if known && (number[0] < oldest[0] || number[0] == 1 && (number[1] < oldest[1] || number[1] == oldest[1] && number[2] < oldest[2])) {
		return info, fmt.Errorf("InfluxDB %s lets anybody in who sends an empty secret (CVE-2019-20933): update it to 1.7.6 or later", info.Version)
	}
	if info.Major >= 2 {
		return info, c.prepareBuckets(ctx)
	}
	info.Open = c.isOpen(ctx)
	if u, err := url.Parse(c.baseURL); err == nil && info.Open && !isLoopback(u.Hostname()) {
		c.o.Logger.Warn("InfluxDB answers anybody: switch its authentication on", "url", c.baseURL)
	}
	return info, c.preparePolicies(ctx)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func parseVersion(s string) (v [3]int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(s, "v"), ".", 3)
	if len(parts) != 3 {
		return v, false
	}
	for i, p := range parts {
		if j := strings.IndexFunc(p, func(r rune) bool { return r < '0' || r > '9' }); j >= 0 {
			p = p[:j]
		}
		n, err := strconv.Atoi(p)
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

// isOpen reports whether a query without credentials is answered.
func (c *Client) isOpen(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.baseURL+"/query?q=SHOW+DATABASES", nil)
	if err != nil {
		return false
	}
	resp, err := c.trans.RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Shards: a write that reaches over many of them is slow, and what is old is
// dropped by the shard.
var shards = map[Bucket]string{Raw: "7d", Hours: "52w", Days: "520w"}

// preparePolicies makes the database and its retention policies in 1.8.
func (c *Client) preparePolicies(ctx context.Context) error {
	have := map[string]bool{}
	rows, err := c.table(ctx, c.reader, http.MethodGet, "SHOW RETENTION POLICIES ON "+quoteName(c.o.Prefix))
	missing := err != nil && strings.Contains(err.Error(), "database not found")
	if err != nil && !missing {
		return fmt.Errorf("list the buckets: %w", err)
	}
	for _, r := range rows {
		have[r["name"]] = true
	}
	var statements []string
	if missing {
		statements = append(statements, fmt.Sprintf("CREATE DATABASE %s WITH DURATION INF REPLICATION 1 SHARD DURATION %s NAME %s",
			quoteName(c.o.Prefix), shards[Raw], quoteName(string(Raw))))
		have[string(Raw)] = true
	}
	for _, b := range []Bucket{Raw, Hours, Days} {
		if !have[string(b)] {
			statements = append(statements, fmt.Sprintf("CREATE RETENTION POLICY %s ON %s DURATION INF REPLICATION 1 SHARD DURATION %s",
				quoteName(string(b)), quoteName(c.o.Prefix), shards[b]))
		}
	}
	for _, s := range statements {
		if _, err := c.table(ctx, c.writer, http.MethodPost, s); err != nil {
			return fmt.Errorf("make the bucket: %w (as InfluxDB's admin, run once: %s)", err, strings.Join(statements, "; "))
		}
	}
	return nil
}

// prepareBuckets makes missing buckets in 2.x.
func (c *Client) prepareBuckets(ctx context.Context) error {
	for _, b := range []Bucket{Raw, Hours, Days} {
		if _, err := c.reader.BucketsAPI().FindBucketByName(ctx, c.Name(b)); err == nil {
			continue
		}
		org, err := c.writer.OrganizationsAPI().FindOrganizationByName(ctx, c.o.Org)
		if err == nil {
			_, err = c.writer.BucketsAPI().CreateBucketWithName(ctx, org, c.Name(b))
		}
		if err != nil {
			// A token that only writes can't see its bucket either: an empty write tells.
			if c.Write(ctx, b, []byte("\n")) == nil {
				continue
			}
			return fmt.Errorf("make bucket %s: %w (make it by hand in organisation %q, and give the write token the right to write it)", c.Name(b), err, c.o.Org)
		}
	}
	return nil
}
