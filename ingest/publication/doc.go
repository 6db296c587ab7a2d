// Package publication keeps the book of what Pantau publishes: the hours of each
// site, the figures computed from them, the bulletins that froze some, and what
// validators said.
//
// It promises that
//   - a figure names exactly what it was computed from: hours are versioned, and
//     the trace of a figure gives back the versions that entered it, also after the
//     raw values have left the database;
//   - the same data end in the same hours and figures, in whatever order, how often
//     and across how many kills they came;
//   - a figure that was published is never replaced: what changes it is a new
//     revision with its reason, and a validated month does not change at all;
//   - reading never waits for computing;
//   - a damaged file is set aside, counted and said, and the book is written again
//     from InfluxDB's hour rows as far as they reach.
//
// What decides is pure: join.go (a site's hour from its nodes' rows), package
// figures (an index from hours). book.go and its neighbours keep it in one bbolt
// file, worker.go reads InfluxDB. What people edit (rules, marks, annotations,
// months, letterhead) lies in a KV bucket; bulletins are files that are written
// once.
package publication
