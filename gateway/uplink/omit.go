package uplink

import (
	"slices"

	"github.com/pantau-id/pantau/internal/sparkplug"
)

// renumber gives the aliases away anew, by name.
func (s *Session) renumber() {
	order := make([]int, len(s.defs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if s.defs[a].Name < s.defs[b].Name {
			return -1
		}
		return 1
	})
	for n, i := range order {
		s.defs[i].Alias = sparkplug.FirstAlias + uint64(n)
	}
}
