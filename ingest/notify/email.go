package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wneessen/go-mail"
)

// EmailOptions name a mail server and the people. TLS is used where the server
// offers it, and required unless the server is on loopback.
type EmailOptions struct {
	Name     string
	Host     string
	Port     int
	User     string // empty: without sign-in
	Password string
	From     string
	To       []string
	BaseURL  string // for the link in the text
	Loopback bool   // the server is on this machine: TLS may be missing
}

// Email sends a message by SMTP.
type Email struct {
	o EmailOptions
}

// NewEmail checks the options.
func NewEmail(o EmailOptions) (*Email, error) {
	e := &Email{o: o}
	if o.Host == "" || o.Port <= 0 || len(o.To) == 0 {
		return nil, fmt.Errorf("e-mail channel %s: host %q, port %d, %d receivers: all are needed", o.Name, o.Host, o.Port, len(o.To))
	}
	if _, err := e.message(Message{ID: "check"}); err != nil {
		return nil, fmt.Errorf("e-mail channel %s: %w", o.Name, err)
	}
	if _, err := e.client(); err != nil {
		return nil, fmt.Errorf("e-mail channel %s: %w", o.Name, err)
	}
	return e, nil
}

func (e *Email) client() (*mail.Client, error) {
	options := []mail.Option{mail.WithPort(e.o.Port), mail.WithTimeout(15 * time.Second), mail.WithTLSPolicy(mail.TLSMandatory)}
	if e.o.Loopback {
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic))
	}
	if e.o.User != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(e.o.User), mail.WithPassword(e.o.Password))
	}
	return mail.NewClient(e.o.Host, options...)
}

func (e *Email) message(m Message) (*mail.Msg, error) {
	msg := mail.NewMsg()
	if err := msg.From(e.o.From); err != nil {
		return nil, fmt.Errorf("sender %q: %w", e.o.From, err)
	}
	if err := msg.To(e.o.To...); err != nil {
		return nil, fmt.Errorf("receivers %q: %w", e.o.To, err)
	}
	msg.Subject(Subject(m))
	msg.SetBodyString(mail.TypeTextPlain, Text(m, e.o.BaseURL))
	msg.SetMessageIDWithValue(m.ID + "@pantau")
	msg.SetDate()
	return msg, nil
}

// Name returns the channel's name.
func (e *Email) Name() string { return e.o.Name }

// Send delivers the message to the mail server. A permanent answer of the
// server (5xx) is tried again all the same: a mistyped relay setting is mended
// by people, and the alert should then still come.
func (e *Email) Send(ctx context.Context, m Message) error {
	msg, err := e.message(m)
	if err != nil {
		return errors.Join(ErrRefused, err)
	}
	client, err := e.client()
	if err != nil {
		return fmt.Errorf("e-mail %s: %w", e.o.Name, err)
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		return fmt.Errorf("e-mail %s through %s:%d: %w", e.o.Name, e.o.Host, e.o.Port, err)
	}
	return nil
}
