package account

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Role says what somebody may do.
type Role string

// The roles, each of which may also do what those before it may.
const (
	Viewer     Role = "viewer"     // sees the staff pages
	Operator   Role = "operator"   // acknowledges alerts
	Technician Role = "technician" // looks after gateways and sensors
	Validator  Role = "validator"  // judges spans of data
	Approver   Role = "approver"   // signs bulletins and reports
	Admin      Role = "admin"      // people and settings
)

// Roles lists the roles in rising order.
func Roles() []Role { return []Role{Viewer, Operator, Technician, Validator, Approver, Admin} }

// AtLeast reports whether the role includes least. An unknown role includes
// nothing and is included in none.
func (r Role) AtLeast(least Role) bool {
	have, want := slices.Index(Roles(), r), slices.Index(Roles(), least)
	return have >= 0 && want >= 0 && have >= want
}

// Valid reports whether the role is one of Roles.
func (r Role) Valid() bool { return slices.Contains(Roles(), r) }

// Everywhere grants the role for the whole province and all kinds.
func (r Role) Everywhere() Grant { return Grant{Role: r} }

// Grant gives a role for a part of what there is.
type Grant struct {
	Role     Role           `json:"role"`
	District string         `json:"district,omitempty"` // BPS code; "" = the whole province
	Kind     telemetry.Kind `json:"kind,omitempty"`     // "" = all kinds
}

// What May can be asked besides one district and one kind.
const (
	Somewhere = "*"                 // in whatever district: a page that then shows only what May allows
	SomeKind  = telemetry.Kind("*") // of whatever kind
)

// May decides whether somebody may do what takes the role least, in a district and
// for a kind. "" asks for the whole province, or for all kinds at once; only a
// grant without that limit gives it. Somewhere and SomeKind ask whether there is
// any.
func (u *User) May(least Role, district string, kind telemetry.Kind) bool {
	return slices.ContainsFunc(u.Grants, func(g Grant) bool {
		return g.Role.AtLeast(least) &&
			(g.District == "" || g.District == district || district == Somewhere) &&
			(g.Kind == "" || g.Kind == kind || kind == SomeKind)
	})
}

// Highest is the highest role that somebody has anywhere, "" = none.
func (u *User) Highest() Role {
	var best Role
	for _, g := range u.Grants {
		if g.Role.Valid() && !best.AtLeast(g.Role) {
			best = g.Role
		}
	}
	return best
}

// Errors of a grant.
var (
	ErrNoSuchRole     = errors.New("role is not one of viewer, operator, technician, validator, approver, admin")
	ErrNoSuchKind     = errors.New("kind is not one of air, waste, energy, water, gateway, other")
	ErrNoSuchDistrict = errors.New("district is not the BPS code of a kabupaten or kota, for example 3374")
)

func (g Grant) check() error {
	if !g.Role.Valid() {
		return fmt.Errorf("role %q: %w", g.Role, ErrNoSuchRole)
	}
	if g.Kind != "" && !slices.Contains(telemetry.Kinds(), g.Kind) {
		return fmt.Errorf("kind %q: %w", g.Kind, ErrNoSuchKind)
	}
	if g.District != "" {
		if _, ok := places.FindDistrict(g.District); !ok {
			return fmt.Errorf("district %q: %w", g.District, ErrNoSuchDistrict)
		}
	}
	return nil
}

// ParseGrant reads ROLE[:DISTRICT[:KIND]], with "" or "-" for the whole, as in
// "validator:3374:air" and "viewer::air".
func ParseGrant(text string) (Grant, error) {
	parts := strings.Split(text, ":")
	if len(parts) > 3 {
		return Grant{}, fmt.Errorf("grant %q: want ROLE[:DISTRICT[:KIND]], for example validator:3374:air: %w", text, ErrNoSuchRole)
	}
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	for i, p := range parts {
		if p == "-" {
			parts[i] = ""
		}
	}
	g := Grant{Role: Role(parts[0]), District: parts[1], Kind: telemetry.Kind(parts[2])}
	if err := g.check(); err != nil {
		return Grant{}, fmt.Errorf("grant %q: %w", text, err)
	}
	return g, nil
}

// String writes what ParseGrant reads.
func (g Grant) String() string {
	return strings.TrimRight(string(g.Role)+":"+g.District+":"+string(g.Kind), ":")
}
