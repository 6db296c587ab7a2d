package influx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
)

// InfluxQL over /query, the one query language that 1.x, 2.x and 3.x answer.

// quoteName writes an identifier.
func quoteName(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// quoteText writes a string literal.
func quoteText(s string) string {
	return `'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(s) + `'`
}

// ErrQuery is what a query that the database does not understand or denies
// wraps.
var ErrQuery = errors.New("InfluxDB refuses the query")

// query runs one statement and hands every row of the answer to fn: the
// measurement's name, the columns ("time" in ns first) and the row, which is
// reused. chunked answers come while they are made; their end is marked, so one
// that is cut short is an error.
func (c *Client) query(ctx context.Context, from influxdb2.Client, method string, b Bucket, statement string, fn func(name string, columns []string, row []cell) error) error {
	form := url.Values{"q": {statement}, "epoch": {"ns"}, "chunked": {"true"}, "chunk_size": {"10000"}}
	if b != "" {
		form.Set("db", c.o.Prefix)
		form.Set("rp", string(b))
	}
	req, err := http.NewRequestWithContext(ctx, method, c.baseURL+"/query?"+form.Encode(), nil)
	if err != nil {
		return fmt.Errorf("ask InfluxDB: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := from.HTTPService().DoHTTPRequestWithResponse(req, nil)
	if err != nil {
		return &UnavailableError{Err: fmt.Errorf("ask InfluxDB: %w", err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // what it says is only for people
		err := fmt.Errorf("%w: status %d: %s", ErrQuery, resp.StatusCode, strings.TrimSpace(string(text)))
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
			return &UnavailableError{Status: resp.StatusCode, Err: err}
		}
		return err
	}
	var theirs error
	err = readAnswer(resp.Body, func(name string, columns []string, row []cell) error {
		theirs = fn(name, columns, row)
		return theirs
	})
	if err != nil && theirs == nil && !errors.Is(err, ErrQuery) {
		return &UnavailableError{Err: fmt.Errorf("read InfluxDB's answer: %w", err)}
	}
	return err
}

// table runs a statement with a small answer.
func (c *Client) table(ctx context.Context, from influxdb2.Client, method, statement string) ([]map[string]string, error) {
	var out []map[string]string
	err := c.query(ctx, from, method, "", statement, func(_ string, columns []string, row []cell) error {
		m := map[string]string{}
		for i, v := range row {
			m[columns[i]] = strings.Clone(v.text)
		}
		out = append(out, m)
		return nil
	})
	return out, err
}
