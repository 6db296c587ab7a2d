package server

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/ingest/notify"
)

// WebhookOptions are one webhook channel.
type WebhookOptions struct {
	Name       string   `toml:"name"`
	URL        string   `toml:"url"`
	SecretFile string   `toml:"secret_file"`
	Allow      []string `toml:"allow"` // networks that are private, yet meant

	secret string
}

func (o *WebhookOptions) channel() (notify.Channel, error) {
	var allow []netip.Prefix
	for _, a := range o.Allow {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return nil, fmt.Errorf("allow = %q: want a network, for example 10.0.0.0/24", a)
		}
		allow = append(allow, p)
	}
	return notify.NewWebhook(o.Name, o.URL, []byte(o.secret), allow)
}

// EmailOptions are one e-mail channel.
type EmailOptions struct {
	Name         string   `toml:"name"`
	Host         string   `toml:"host"`
	Port         int      `toml:"port"`
	User         string   `toml:"user"`
	PasswordFile string   `toml:"password_file"`
	From         string   `toml:"from"`
	To           []string `toml:"to"`

	password string
}

// channel returns the channel; pages is where its letters lead.
func (o *EmailOptions) channel(pages string) (notify.Channel, error) {
	return notify.NewEmail(notify.EmailOptions{
		Name: o.Name, Host: o.Host, Port: o.Port, User: o.User, Password: o.password,
		From: o.From, To: o.To, BaseURL: pages, Loopback: loopback(o.Host),
	})
}

// checkChannels reads the channels' secrets and makes each of them once, so that
// what a start would refuse is known without one.
func (o *Options) checkChannels(bad func(field string, value any, want string), secret func(field, file, environment string) string) {
	names := map[string]bool{}
	named := func(field, name string) {
		if name == "" || names[name] {
			bad(field, name, "want a name of its own")
		}
		names[name] = true
	}
	for i := range o.Webhooks {
		w, field := &o.Webhooks[i], fmt.Sprintf("webhook[%d]", i)
		named(field+".name", w.Name)
		if w.SecretFile == "" {
			bad(field+".secret_file", "", "name a file with the secret that signs messages")
		} else if w.secret = secret(field+".secret_file", w.SecretFile, ""); w.secret != "" {
			if _, err := w.channel(); err != nil {
				bad(field, w.Name, err.Error())
			}
		}
	}
	for i := range o.Emails {
		e, field := &o.Emails[i], fmt.Sprintf("email[%d]", i)
		named(field+".name", e.Name)
		if (e.User == "") != (e.PasswordFile == "") {
			bad(field+".password_file", e.PasswordFile, "user and password_file go together")
		}
		if e.PasswordFile != "" {
			e.password = secret(field+".password_file", e.PasswordFile, "")
		}
		if _, err := e.channel(""); err != nil {
			bad(field, e.Name, err.Error())
		}
	}
}

// notifier queues messages for the channels of the settings.
func (s *Server) notifier(ctx context.Context) (*notify.Notifier, error) {
	kv, err := s.journal.KV(ctx, "notify", journal.KVOptions{})
	if err != nil {
		return nil, err
	}
	var channels []notify.Channel
	for i := range s.o.Webhooks {
		c, err := s.o.Webhooks[i].channel()
		if err != nil {
			return nil, err
		}
		channels = append(channels, c)
	}
	for i := range s.o.Emails {
		c, err := s.o.Emails[i].channel(s.pagesURL())
		if err != nil {
			return nil, err
		}
		channels = append(channels, c)
	}
	return notify.New(notify.Options{KV: kv, Channels: channels, Logger: s.log.With("room", "notify"), Registerer: s.metrics})
}
