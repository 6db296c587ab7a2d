package places

import (
	"container/heap"
	"slices"
)

// topology is a set of areas whose borders are arcs: a border between two areas
// is one arc, and simplifying it once keeps both areas fitting together.
type topology struct {
	areas  [][][][]int // area, polygon, ring: arcs, ~i backwards
	arcs   [][]point   // from junction to junction; a ring without junction is one closed arc
	uses   []int       // rings that an arc is part of
	points int         // of all arcs
}

// newTopology cuts the rings of features where more than two borders meet.
func newTopology(features []*feature) *topology {
	t := &topology{}
	junctions := findJunctions(features)
	known := map[arcKey][]int{}
	for _, f := range features {
		var polygons [][][]int
		for _, polygon := range f.polygons {
			var rings [][]int
			for _, ring := range polygon {
				rings = append(rings, t.cut(ring, junctions, known))
			}
			polygons = append(polygons, rings)
		}
		t.areas = append(t.areas, polygons)
	}
	for _, a := range t.arcs {
		t.points += len(a)
	}
	return t
}

// findJunctions finds the points that have other neighbours in one ring than in
// another.
func findJunctions(features []*feature) map[point]bool {
	neighbours := map[point][2]point{}
	junctions := map[point]bool{}
	for _, f := range features {
		for _, polygon := range f.polygons {
			for _, ring := range polygon {
				for i, p := range ring {
					a, b := ring[(i+len(ring)-1)%len(ring)], ring[(i+1)%len(ring)]
					if less(b, a) {
						a, b = b, a
					}
					if have, seen := neighbours[p]; seen && have != [2]point{a, b} {
						junctions[p] = true
					}
					neighbours[p] = [2]point{a, b}
				}
			}
		}
	}
	return junctions
}

func less(a, b point) bool { return a.x < b.x || a.x == b.x && a.y < b.y }

// arcKey finds the arcs that may be the same: their ends, smaller one first, and
// how many points they have.
type arcKey struct {
	a, b point
	n    int
}

// cut makes a ring a list of arcs.
func (t *topology) cut(ring []point, junctions map[point]bool, known map[arcKey][]int) []int {
	start := slices.IndexFunc(ring, func(p point) bool { return junctions[p] })
	if start < 0 {
		// Nothing else touches it, or just one other ring all along: an enclave. Both
		// begin at the same point.
		for i, p := range ring {
			if start < 0 || less(p, ring[start]) {
				start = i
			}
		}
	}
	turned := slices.Concat(ring[start:], ring[:start])
	turned = append(turned, turned[0])
	var out []int
	from := 0
	for i := 1; i < len(turned); i++ {
		if junctions[turned[i]] || i == len(turned)-1 {
			out = append(out, t.arc(turned[from:i+1], known))
			from = i
		}
	}
	return out
}

// arc returns an arc's reference, and keeps it if it is new.
func (t *topology) arc(points []point, known map[arcKey][]int) int {
	a, b := points[0], points[len(points)-1]
	if less(b, a) {
		a, b = b, a
	}
	key := arcKey{a, b, len(points)}
	for _, i := range known[key] {
		if slices.Equal(t.arcs[i], points) {
			t.uses[i]++
			return i
		}
		if slices.Equal(t.arcs[i], backwards(points)) {
			t.uses[i]++
			return ^i
		}
	}
	t.arcs = append(t.arcs, slices.Clone(points))
	t.uses = append(t.uses, 1)
	known[key] = append(known[key], len(t.arcs)-1)
	return len(t.arcs) - 1
}

func backwards(points []point) []point {
	out := slices.Clone(points)
	slices.Reverse(out)
	return out
}

// least is the area (in square units: 20 is 0.03 km²) below which an island, and
// a lake in an area, are not drawn. The largest part of an area always is.
const least = 20

// simplify leaves at most so many points, and more only where an area would
// vanish: by Visvalingam and Whyatt, the points go first whose triangle with their
// neighbours is smallest. It returns how many are left.
func (t *topology) simplify(most int) int {
	weights := make([][]float64, len(t.arcs))
	var all []float64
	for i, arc := range t.arcs {
		weights[i] = weigh(arc)
		all = append(all, weights[i]...)
	}
	limit := 0.0 // points on a straight line are never needed
	if len(all) > most {
		slices.Sort(all)
		limit = all[len(all)-most-1]
	}
	short := make([][]point, len(t.arcs))
	for i, arc := range t.arcs {
		for j, p := range arc {
			if w := weights[i][j]; w > limit || w == endless {
				short[i] = append(short[i], p)
			}
		}
	}
	long := t.arcs
	t.arcs = short
	for i, polygons := range t.areas {
		if len(t.rings(i)) > 0 {
			continue
		}
		for _, polygon := range polygons { // it would vanish
			for _, ref := range polygon[0] {
				if ref < 0 {
					ref = ^ref
				}
				t.arcs[ref] = long[ref]
			}
		}
	}
	kept := 0
	for _, a := range t.arcs {
		kept += len(a)
	}
	return kept
}

// rings returns an area's polygons, without what is too small to be drawn.
func (t *topology) rings(area int) [][][]point {
	type part struct {
		rings  [][]point
		size   int // twice its area
		island bool
	}
	var parts []part
	largest := 0
	for _, polygon := range t.areas[area] {
		var p part
		for i, refs := range polygon {
			ring := t.ring(refs)
			size, island := twiceArea(ring), t.island(refs)
			if i == 0 {
				p.size, p.island = size, island
				if flat(ring) {
					break
				}
			} else if flat(ring) || island && size < 2*least {
				continue
			}
			p.rings = append(p.rings, ring)
		}
		if len(p.rings) > 0 {
			parts = append(parts, p)
			largest = max(largest, p.size)
		}
	}
	var out [][][]point
	for _, p := range parts {
		if p.size == largest || !p.island || p.size >= 2*least {
			out = append(out, p.rings)
		}
	}
	return out
}

// island reports whether a ring borders on no other.
func (t *topology) island(refs []int) bool {
	return len(refs) == 1 && t.uses[max(refs[0], ^refs[0])] == 1
}

// ring joins arcs to a ring without its closing point.
func (t *topology) ring(refs []int) []point {
	var out []point
	for _, ref := range refs {
		var arc []point
		if ref < 0 {
			arc = backwards(t.arcs[^ref])
		} else {
			arc = t.arcs[ref]
		}
		out = append(out, arc[:len(arc)-1]...)
	}
	return out
}

// flat reports whether all points of a ring lie on one line.
func flat(ring []point) bool {
	other := slices.IndexFunc(ring, func(p point) bool { return p != ring[0] })
	if other < 0 {
		return true
	}
	a, b := ring[0], ring[other]
	return !slices.ContainsFunc(ring, func(p point) bool { return (b.x-a.x)*(p.y-a.y) != (p.x-a.x)*(b.y-a.y) })
}

func twiceArea(ring []point) int {
	sum := 0
	for i, p := range ring {
		q := ring[(i+1)%len(ring)]
		sum += p.x*q.y - q.x*p.y
	}
	return max(sum, -sum)
}

// endless is the weight of a point that stays.
const endless = 1 << 60

// weigh returns for each point of an arc how large the triangle was that went
// with it. The ends stay; of a closed arc three points do.
func weigh(arc []point) []float64 {
	closed := arc[0] == arc[len(arc)-1]
	w := make([]float64, len(arc))
	q := &corners{arc: arc, next: make([]int, len(arc)), prev: make([]int, len(arc)), at: make([]int, len(arc)), size: make([]float64, len(arc))}
	for i := range arc {
		q.prev[i], q.next[i], q.at[i] = i-1, i+1, -1
		if i > 0 && i < len(arc)-1 {
			q.size[i] = q.triangle(i)
			heap.Push(q, i)
		}
	}
	w[0], w[len(arc)-1] = endless, endless
	last := 0.0
	for q.Len() > 0 {
		i := heap.Pop(q).(int)
		if closed && q.Len() < 2 {
			w[i] = endless
			continue
		}
		last = max(last, q.size[i]) // not before those that had to go first
		w[i] = last
		a, b := q.prev[i], q.next[i]
		q.next[a], q.prev[b] = b, a
		for _, j := range [...]int{a, b} {
			if q.at[j] >= 0 {
				q.size[j] = q.triangle(j)
				heap.Fix(q, q.at[j])
			}
		}
	}
	return w
}

// corners is a heap of an arc's points by the size of their triangles.
type corners struct {
	arc        []point
	prev, next []int
	size       []float64
	heap       []int
	at         []int // place in heap; -1 = not in it
}

func (q *corners) triangle(i int) float64 {
	a, b, c := q.arc[q.prev[i]], q.arc[i], q.arc[q.next[i]]
	s := float64((b.x-a.x)*(c.y-a.y) - (c.x-a.x)*(b.y-a.y))
	return max(s, -s) / 2
}

func (q *corners) Len() int           { return len(q.heap) }
func (q *corners) Less(i, j int) bool { return q.size[q.heap[i]] < q.size[q.heap[j]] }
func (q *corners) Swap(i, j int) {
	q.heap[i], q.heap[j] = q.heap[j], q.heap[i]
	q.at[q.heap[i]], q.at[q.heap[j]] = i, j
}
func (q *corners) Push(x any) {
	i := x.(int)
	q.at[i] = len(q.heap)
	q.heap = append(q.heap, i)
}
func (q *corners) Pop() any {
	i := q.heap[len(q.heap)-1]
	q.heap, q.at[i] = q.heap[:len(q.heap)-1], -1
	return i
}
