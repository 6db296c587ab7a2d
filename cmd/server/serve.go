package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/internal/server"
)

// stopTimeout bounds an orderly end; systemd's own default is 90 s.
const stopTimeout = 30 * time.Second

// optionFlags binds flags over the settings file: defaults, then the file, then
// flags that were given.
func optionFlags(cmd *cobra.Command) func() (server.Options, error) {
	var config, mqttName string
	given := server.Defaults()
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "settings file (TOML)")
	f.StringVar(&given.Data, "data", given.Data, "folder of all that must survive")
	f.StringVar(&given.Clock, "clock", given.Clock, `"kernel", or "assume-synchronised" where the host keeps the time`)
	f.StringVar(&given.HTTP.Listen, "http", given.HTTP.Listen, "address of the pages")
	f.StringVar(&given.HTTP.BaseURL, "base-url", "", "how people reach the pages, for links in messages")
	f.StringVar(&given.HTTP.Cert, "https-cert", "", "PEM file with the pages' certificate; the pages are then served over HTTPS")
	f.StringVar(&given.HTTP.Key, "https-key", "", "PEM file with its key")
	f.StringSliceVar(&given.HTTP.ACMENames, "https-acme", nil, "host names for which to obtain the pages' certificate by ACME (Let's Encrypt, or http.acme_directory)")
	f.StringVar(&given.HTTP.Redirect, "https-redirect", "", "address that leads to HTTPS and answers ACME, for example :80")
	f.StringSliceVar(&given.HTTP.TrustedProxies, "trusted-proxies", nil, "networks of the proxies in front that end TLS, for example 10.0.0.0/24")
	f.StringVar(&given.People.SecondFactor, "second-factor", given.People.SecondFactor, `who must sign in with a time code besides the password: "admins", or "optional" for simulated installations`)
	f.StringVar(&given.MQTT.Listen, "mqtt", given.MQTT.Listen, "address of the gateways' door (MQTT over TLS)")
	f.StringVar(&given.MQTT.Plain, "mqtt-plain", "", "address of MQTT without TLS: loopback only, with user name and password (off if empty)")
	f.StringVar(&mqttName, "mqtt-name", "", "host name or address by which gateways elsewhere reach the MQTT door; its certificate is for it")
	f.StringVar(&given.MQTT.CA, "mqtt-ca", "", "certificates (PEM) of another authority that signs gateways; no authority is made here then")
	f.StringVar(&given.MQTT.Cert, "mqtt-cert", "", "with --mqtt-ca: certificate and chain (PEM) of the MQTT door")
	f.StringVar(&given.MQTT.Key, "mqtt-key", "", "with --mqtt-ca: key (PEM) of the MQTT door")
	f.StringVar(&given.Influx.URL, "influx-url", given.Influx.URL, "InfluxDB 1.8 or 2.x")
	f.StringVar(&given.Influx.Org, "influx-org", "", "organisation (InfluxDB 2.x)")
	f.StringVar(&given.Influx.Prefix, "influx-prefix", given.Influx.Prefix, "first part of the databases' names")
	f.StringVar(&given.Influx.WriteTokenFile, "influx-write-token-file", "", "file with the token that writes (or PANTAU_INFLUX_WRITE_TOKEN)")
	f.StringVar(&given.Influx.ReadTokenFile, "influx-read-token-file", "", "file with the token that reads (or PANTAU_INFLUX_READ_TOKEN)")
	f.TextVar(&given.Journal.Quota, "journal-quota", given.Journal.Quota, "most bytes of the journal, for example 10GB")
	return func() (server.Options, error) {
		o := server.Defaults()
		if config != "" {
			if err := o.Load(config); err != nil {
				return o, usageError{err}
			}
		}
		for name, set := range map[string]func(){
			"data":                    func() { o.Data = given.Data },
			"clock":                   func() { o.Clock = given.Clock },
			"http":                    func() { o.HTTP.Listen = given.HTTP.Listen },
			"base-url":                func() { o.HTTP.BaseURL = given.HTTP.BaseURL },
			"https-cert":              func() { o.HTTP.Cert = given.HTTP.Cert },
			"https-key":               func() { o.HTTP.Key = given.HTTP.Key },
			"https-acme":              func() { o.HTTP.ACMENames = given.HTTP.ACMENames },
			"https-redirect":          func() { o.HTTP.Redirect = given.HTTP.Redirect },
			"trusted-proxies":         func() { o.HTTP.TrustedProxies = given.HTTP.TrustedProxies },
			"second-factor":           func() { o.People.SecondFactor = given.People.SecondFactor },
			"mqtt":                    func() { o.MQTT.Listen = given.MQTT.Listen },
			"mqtt-plain":              func() { o.MQTT.Plain = given.MQTT.Plain },
			"mqtt-name":               func() { o.MQTT.Names = []string{mqttName} },
			"mqtt-ca":                 func() { o.MQTT.CA = given.MQTT.CA },
			"mqtt-cert":               func() { o.MQTT.Cert = given.MQTT.Cert },
			"mqtt-key":                func() { o.MQTT.Key = given.MQTT.Key },
			"influx-url":              func() { o.Influx.URL = given.Influx.URL },
			"influx-org":              func() { o.Influx.Org = given.Influx.Org },
			"influx-prefix":           func() { o.Influx.Prefix = given.Influx.Prefix },
			"influx-write-token-file": func() { o.Influx.WriteTokenFile = given.Influx.WriteTokenFile },
			"influx-read-token-file":  func() { o.Influx.ReadTokenFile = given.Influx.ReadTokenFile },
			"journal-quota":           func() { o.Journal.Quota = given.Journal.Quota },
		} {
			if f.Changed(name) {
				set()
			}
		}
		o.Version = version
		if err := o.Resolve(); err != nil {
			return o, usageError{err}
		}
		return o, nil
	}
}

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Start the server; ends on SIGTERM or Ctrl-C after everything taken is kept",
		Args:  none,
	}
	options := optionFlags(cmd)
	var readyFile string
	cmd.Flags().StringVar(&readyFile, "ready-file", "", "file to write the addresses to once gateways can connect (JSON)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		keepHeadroom()
		log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
		slog.SetDefault(log)
		o, err := options()
		if err != nil {
			return err
		}
		o.Logger = log
		for _, w := range o.Warnings() {
			log.Warn(w)
		}
		s, err := server.New(o)
		if err != nil {
			return err
		}
		if err := s.Start(cmd.Context()); err != nil {
			return err
		}
		if password := s.FirstPassword(); password != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "Sign in as admin with the first password %s (shown once; choose your own there).\n", password)
		}
		if readyFile != "" {
			err = s.WriteReady(readyFile)
		}
		if err == nil {
			err = s.Wait(cmd.Context())
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), stopTimeout)
		defer cancel()
		if stopErr := s.Stop(ctx); stopErr != nil && err == nil {
			err = stopErr
		}
		return err
	}
	return cmd
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "check", Short: "Check the settings as serve would and print what was understood, as TOML", Args: none}
	options := optionFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON: settings with their defaults, and warnings")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o, err := options()
		if err != nil {
			return err
		}
		text, err := toml.Marshal(o)
		if err != nil {
			return fmt.Errorf("print settings: %w", err)
		}
		if *asJSON {
			var understood map[string]any
			if err := toml.Unmarshal(text, &understood); err != nil {
				return fmt.Errorf("print settings: %w", err)
			}
			return printJSON(cmd.OutOrStdout(), map[string]any{"settings": understood, "warnings": append([]string{}, o.Warnings()...)})
		}
		for _, w := range o.Warnings() {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	return cmd
}
