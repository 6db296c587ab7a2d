package spool

import "sort"

// Span is an unbroken stretch of record numbers, both ends included.
type Span struct{ From, To uint64 }

// Spans is a set of numbers: sorted, disjoint, not touching.
type Spans []Span

// at returns the index of the first span that ends at or after n.
func (s Spans) at(n uint64) int { return sort.Search(len(s), func(i int) bool { return s[i].To >= n }) }

// Has reports whether n is in the set.
func (s Spans) Has(n uint64) bool {
	i := s.at(n)
	return i < len(s) && s[i].From <= n
}

// Len counts the numbers.
func (s Spans) Len() uint64 {
	var n uint64
	for _, x := range s {
		n += x.To - x.From + 1
	}
	return n
}

// Add puts from…to into the set.
func (s *Spans) Add(from, to uint64) {
	if to < from {
		return
	}
	old := *s
	i := 0
	if from > 0 {
		i = old.at(from - 1)
	}
	j := i
	for j < len(old) && (to+1 == 0 || old[j].From <= to+1) {
		from, to = min(from, old[j].From), max(to, old[j].To)
		j++
	}
	if i == j {
		old = append(old, Span{})
		copy(old[i+1:], old[i:])
		old[i] = Span{from, to}
		*s = old
		return
	}
	old[i] = Span{from, to}
	*s = append(old[:i+1], old[j:]...)
}

// Remove takes from…to out of the set and returns what was in it.
func (s *Spans) Remove(from, to uint64) Spans {
	hit := s.Within(from, to)
	if len(hit) == 0 {
		return nil
	}
	*s = s.Minus(hit)
	return hit
}

// Within returns the part of the set inside from…to.
func (s Spans) Within(from, to uint64) Spans {
	var out Spans
	for i := s.at(from); i < len(s) && s[i].From <= to; i++ {
		out = append(out, Span{max(from, s[i].From), min(to, s[i].To)})
	}
	return out
}

// Minus returns the set without what is in other.
func (s Spans) Minus(other Spans) Spans {
	var out Spans
	for _, x := range s {
		from := x.From
		for i := other.at(from); i < len(other) && other[i].From <= x.To; i++ {
			if other[i].From > from {
				out = append(out, Span{from, other[i].From - 1})
			}
			from = other[i].To + 1
			if from == 0 || from > x.To {
				break
			}
		}
		if from != 0 && from <= x.To {
			out = append(out, Span{from, x.To})
		}
	}
	return out
}
