package dashboards

// Route is a line of the table of routes, for tests that call each of them.
type Route struct {
	Method, Path, Least                string
	Public, Session, Staff, Background bool
}

// Routes is the table of routes.
func Routes() []Route {
	var out []Route
	for _, r := range table {
		out = append(out, Route{r.method, r.path, string(r.least), r.access == public, r.access == session, r.access == staff, r.access == background})
	}
	return out
}
