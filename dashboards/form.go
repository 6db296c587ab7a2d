package dashboards

import (
	"errors"
	"slices"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// field is one field of a form. Its name is the record's own, so that what is wrong
// with a record finds its field.
type field struct {
	Name, Label string
	Kind        string // of the input: text, number, date, datetime-local; select, check, area
	Value       string
	On          bool // of a check
	Options     []choice
	Hint        string
	Required    bool
	Fixed       bool   // shown, not changed
	Wrong       string // what is wrong with Value, in words
}

// formView is a form of fields.
type formView struct {
	ID     string // before the ids of its fields
	Action string
	Submit string
	Hidden []hidden
	Fields []field
	Wrong  []string // what belongs to no field
}

// blame puts what is wrong into the fields it is about; false if err is something
// else.
func (f *formView) blame(l page.Lang, err error) bool {
	var problems places.Problems
	if !errors.As(err, &problems) {
		return false
	}
	for _, p := range problems {
		words := whyWrong(l, p.Why, p.Field, p.Want)
		if i := slices.IndexFunc(f.Fields, func(x field) bool { return x.Name == p.Field }); i >= 0 {
			f.Fields[i].Wrong = words
		} else {
			f.Wrong = append(f.Wrong, page.Plain(p.Record)+", "+l.Name("field.", p.Field)+": "+words)
		}
	}
	return true
}

// whyWrong says in the reader's language what is wrong with a field of places, and how
// it is written. What package places says of it is English, for command lines; of
// something else in the way it names which.
func whyWrong(l page.Lang, why places.Why, name, want string) string {
	words := l.Name("why.", string(why))
	how := page.Key("want." + name)
	if !page.Has(how) {
		how = "want.text"
	}
	switch {
	case why == places.Format || why == places.Range || why == places.Unknown:
		return words + " (" + l.T(how) + ")"
	case (why == places.Taken || why == places.Twice) && want != "":
		return words + " (" + page.Plain(want) + ")"
	}
	return words
}

// label gives the fields their labels.
func label(l page.Lang, fields []field) []field {
	for i := range fields {
		if fields[i].Label == "" {
			fields[i].Label = l.Name("field.", fields[i].Name)
		}
	}
	return fields
}
