package server

import (
	"fmt"
	"net/http"
	"time"

	"github.com/pantau-id/pantau/broker/enrol"
	"github.com/pantau-id/pantau/internal/registry"
)

// external names the files of another authority, nil where this server signs by
// itself.
func (m *MQTTOptions) external() *enrol.External {
	if m.CA == "" {
		return nil
	}
	return &enrol.External{CA: m.CA, Cert: m.Cert, Key: m.Key}
}

// endsSoon is how long before its end a certificate that people have to renew is
// shown (statement 10).
const endsSoon = 14 * 24 * time.Hour

// ending says that the certificate of the gateways' door needs somebody.
func (s *Server) ending(now time.Time) string {
	if s.authority == nil {
		return ""
	}
	end := s.authority.Expires()
	if end.IsZero() || now.Before(end.Add(-endsSoon)) {
		return ""
	}
	return fmt.Sprintf("mqtt.cert: the certificate of the gateways' door ends at %s: put a new one into %s", end.UTC().Format(time.RFC3339), s.o.MQTT.Cert)
}

// AdmitGateway registers a gateway by a certificate that another authority
// signed.
type AdmitGateway struct {
	Certificate string `json:"certificate"` // PEM, leaf first; its common name is GROUP/NAME
	District    string `json:"district,omitempty"`
	Site        string `json:"site,omitempty"`
}

// Admitted says which gateway may connect, and until when.
type Admitted struct {
	Node    string    `json:"node"`
	Expires time.Time `json:"expires"`
}

func (s *Server) admitGateway(r *http.Request) (Admitted, error) {
	q, err := decode[AdmitGateway](r)
	if err != nil {
		return Admitted{}, err
	}
	node, expires, err := s.authority.Admit(r.Context(), registry.Gateway{District: q.District, Site: q.Site}, []byte(q.Certificate))
	if err == nil {
		err = s.tell(r, "gateway.admit", node.String(), fmt.Sprintf("district %q, site %q, until %s", q.District, q.Site, expires.UTC().Format(time.RFC3339)))
	}
	return Admitted{Node: node.String(), Expires: expires}, err
}
