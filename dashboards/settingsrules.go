package dashboards

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

// ruleRoutes are the settings that figures and letters depend on.
var ruleRoutes = []route{
	{"GET", "/dinas/atur/ambang", staff(account.Admin, provinceAir), (*Dashboards).rulesPage},
	{"POST", "/dinas/atur/ambang", staff(account.Admin, provinceAir), (*Dashboards).setRules},
	{"POST", "/dinas/atur/ambang/hitung-ulang", staff(account.Admin, provinceAir), (*Dashboards).recompute},
	{"GET", "/dinas/atur/sistem", staff(account.Admin, provinceAir), (*Dashboards).systemPage},
	{"POST", "/dinas/atur/sistem", staff(account.Admin, provinceAir), (*Dashboards).setAgency},
	{"POST", "/dinas/atur/sistem/retensi", staff(account.Admin, provinceAir), (*Dashboards).setRetention},
}

type rulesBody struct {
	Settings  []page.Link
	Notice    notice
	Now       figures.DatedRules
	Form      formView
	Nodes     []nodeRow
	Limits    []limitRow
	History   []figures.DatedRules
	Recompute string
	Since     string
	Reason    string
}

// nodeRow is one parameter's breakpoints as fields.
type nodeRow struct {
	Parameter figures.Parameter
	Values    [5]string
	Names     [5]string
}

type limitRow struct {
	Name, Label, Value string
}

// rulesPage is /dinas/atur/ambang.
func (d *Dashboards) rulesPage(w http.ResponseWriter, r *http.Request) error {
	now, err := d.rules(r.Context(), d.o.Now())
	if err != nil {
		return err
	}
	return d.sendRules(w, r, http.StatusOK, now.Rules, "", "", nil)
}

// sendRules shows rules in the form; wrong names what cannot be taken.
func (d *Dashboards) sendRules(w http.ResponseWriter, r *http.Request, status int, rules figures.Rules, since, reason string, wrong []string) error {
	lang, path := page.Split(r.URL.Path)
	all, err := d.o.Figures.Rules(r.Context())
	if err != nil {
		return err
	}
	if since == "" {
		since = d.o.Now().In(page.WIB).AddDate(0, 0, 1).Format(time.DateOnly) + "T00:00"
	}
	body := rulesBody{
		Settings: settingsNav(lang, path, userOf(r)), Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Now: figures.InForce(all, d.o.Now()),
		History: all, Recompute: lang.Path(path) + "/hitung-ulang", Since: since, Reason: reason,
	}
	slices.Reverse(body.History)
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	var hours, gas []string
	for _, h := range rules.Bulletins {
		hours = append(hours, strconv.Itoa(h))
	}
	for _, site := range slices.Sorted(maps.Keys(rules.HCGas)) {
		gas = append(gas, site+" "+rules.HCGas[site])
	}
	nodes := []choice{{"stepped", lang.T("rules.stepped"), rules.Nodes == figures.Stepped}, {"continuous", lang.T("rules.continuous"), rules.Nodes == figures.Continuous}}
	body.Form = formView{ID: "aturan", Action: lang.Path(path), Submit: lang.T("rules.set"), Wrong: wrong, Fields: label(lang, []field{
		{Name: "hour_share", Kind: "number", Value: number(100 * rules.Gates.HourShare), Required: true},
		{Name: "day_hours", Kind: "number", Value: strconv.Itoa(rules.Gates.DayHours), Required: true},
		{Name: "newest_hour", Kind: "number", Value: strconv.Itoa(rules.Gates.NewestHour), Required: true},
		{Name: "nodes", Kind: "select", Options: nodes},
		{Name: "zero_run", Kind: "number", Value: strconv.Itoa(rules.ZeroRun), Required: true},
		{Name: "limit_share", Kind: "number", Value: number(100 * rules.LimitShare), Required: true},
		{Name: "year_share", Kind: "number", Value: number(100 * rules.YearShare), Required: true},
		{Name: "bulletins", Kind: "text", Value: strings.Join(hours, ", "), Hint: lang.T("rules.bulletins_hint")},
		{Name: "grace_min", Kind: "number", Value: strconv.Itoa(rules.GraceMin), Required: true},
		{Name: "hc_gas", Kind: "area", Value: strings.Join(gas, "\n"), Hint: lang.T("rules.gas_hint")},
		{Name: "allow_sni9178", Kind: "check", On: rules.AllowSNI},
		{Name: "auto_publish", Kind: "check", On: rules.AutoPublish},
	})}
	for _, p := range figures.Parameters() {
		row := nodeRow{Parameter: p}
		for i, v := range rules.Breakpoints[p] {
			row.Values[i], row.Names[i] = number(v), fmt.Sprintf("bp_%s_%d", p, i)
		}
		body.Nodes = append(body.Nodes, row)
	}
	for i, l := range rules.Limits {
		body.Limits = append(body.Limits, limitRow{Name: fmt.Sprintf("limit_%d", i), Label: lang.Name("q.", l.Quantity) + ", " + lang.Name("period.", string(l.Period)), Value: number(l.Limit)})
	}
	return d.send(w, r, status, "rules", page.View{Frame: d.frame(r, lang.T("settings.rules")), Body: body})
}

// readRules takes the form over into rules; wrong lists the fields that could not
// be read.
func readRules(r *http.Request, rules figures.Rules) (out figures.Rules, wrong []string) {
	out = rules
	whole := func(name string) int {
		v, err := strconv.Atoi(formText(r, name))
		if err != nil {
			wrong = append(wrong, name)
		}
		return v
	}
	number := func(name string) float64 {
		v, err := strconv.ParseFloat(strings.Replace(formText(r, name), ",", ".", 1), 64)
		if err != nil {
			wrong = append(wrong, name)
		}
		return v
	}
	out.Gates = figures.Gates{HourShare: number("hour_share") / 100, DayHours: whole("day_hours"), NewestHour: whole("newest_hour")}
	out.Nodes = figures.Stepped
	if formText(r, "nodes") == "continuous" {
		out.Nodes = figures.Continuous
	}
	out.ZeroRun, out.LimitShare, out.YearShare, out.GraceMin = whole("zero_run"), number("limit_share")/100, number("year_share")/100, whole("grace_min")
	out.AllowSNI, out.AutoPublish = formText(r, "allow_sni9178") != "", formText(r, "auto_publish") != ""
	out.Bulletins = nil
	for _, text := range strings.FieldsFunc(formText(r, "bulletins"), func(c rune) bool { return c == ',' || c == ' ' || c == ';' }) {
		h, err := strconv.Atoi(text)
		if err != nil {
			wrong = append(wrong, "bulletins")
		}
		out.Bulletins = append(out.Bulletins, h)
	}
	out.HCGas = nil
	for line := range strings.Lines(formText(r, "hc_gas")) {
		site, gas, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			wrong = append(wrong, "hc_gas")
			continue
		}
		if out.HCGas == nil {
			out.HCGas = map[string]string{}
		}
		out.HCGas[site] = strings.TrimSpace(gas)
	}
	out.Breakpoints = figures.Breakpoints{}
	for _, p := range figures.Parameters() {
		var upper [5]float64
		for i := range upper {
			upper[i] = number(fmt.Sprintf("bp_%s_%d", p, i))
		}
		out.Breakpoints[p] = upper
	}
	out.Limits = slices.Clone(rules.Limits)
	for i := range out.Limits {
		out.Limits[i].Limit = number(fmt.Sprintf("limit_%d", i))
	}
	return out, wrong
}

// setRules lets changed rules hold from a coming date on.
func (d *Dashboards) setRules(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	now, err := d.rules(r.Context(), d.o.Now())
	if err != nil {
		return err
	}
	rules, names := readRules(r, now.Rules)
	var wrong []string
	for _, name := range names {
		wrong = append(wrong, lang.T("rules.unreadable", lang.Name("field.", name)))
	}
	since, ok := formTime(formText(r, "since"))
	reason := formText(r, "alasan")
	switch {
	case !ok || since.Before(d.o.Now()):
		wrong = append(wrong, lang.T("rules.past"))
	case reason == "" || len(reason) > maxText:
		wrong = append(wrong, lang.T("rules.need_reason"))
	}
	if len(wrong) == 0 {
		if err := rules.Check(); err != nil {
			wrong = append(wrong, page.Plain(err.Error()))
		}
	}
	if len(wrong) > 0 {
		return d.sendRules(w, r, http.StatusUnprocessableEntity, rules, formText(r, "since"), reason, wrong)
	}
	if err := d.o.Figures.SetRules(r.Context(), figures.DatedRules{Since: since, Rules: rules, Reason: reason, By: userOf(r).Name}); err != nil {
		return d.sendRules(w, r, http.StatusUnprocessableEntity, rules, formText(r, "since"), reason, []string{page.Plain(err.Error())})
	}
	if err := d.tell(r, "rules.set", "rules", since.Format(time.RFC3339)+": "+reason); err != nil {
		return err
	}
	return acted(w, r, lang.Path(path), "tersimpan")
}

// recompute lets the rules of now hold for what was published before.
func (d *Dashboards) recompute(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	back := lang.Path("/dinas/atur/ambang")
	since, ok := formTime(formText(r, "sejak"))
	reason := formText(r, "alasan")
	switch {
	case !ok || since.After(d.o.Now()):
		return d.refuseForm(w, r, back, refusal{text: "rules.not_past"})
	case reason == "" || len(reason) > maxText:
		return d.refuseForm(w, r, back, refusal{text: "rules.need_reason"})
	}
	if err := d.o.Figures.RecomputeSince(r.Context(), since, userOf(r).Name, reason); err != nil {
		return d.refuseForm(w, r, back, refusal{"form.refused", err.Error()})
	}
	if err := d.tell(r, "rules.recompute", "rules", since.Format(time.RFC3339)+": "+reason); err != nil {
		return err
	}
	return acted(w, r, back, "dihitung-ulang")
}

type systemBody struct {
	Settings []page.Link
	Notice   notice
	Form     formView
	Storage  *storageView
}

// systemPage is /dinas/atur/sistem: the letterhead, and how long raw readings stay.
func (d *Dashboards) systemPage(w http.ResponseWriter, r *http.Request) error {
	a, err := d.o.Figures.Agency(r.Context())
	if err != nil {
		return err
	}
	return d.sendSystem(w, r, http.StatusOK, a, nil, nil)
}

func (d *Dashboards) sendSystem(w http.ResponseWriter, r *http.Request, status int, a figures.Agency, wrong, wrongDays []string) error {
	lang, _ := page.Split(r.URL.Path)
	path := "/dinas/atur/sistem"
	storage, err := d.storageOf(r, wrongDays)
	if err != nil {
		return err
	}
	body := systemBody{Settings: settingsNav(lang, path, userOf(r)), Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Storage: storage, Form: formView{
		ID: "kop", Action: lang.Path(path), Submit: lang.T("settings.save"), Wrong: wrong, Fields: label(lang, []field{
			{Name: "agency", Kind: "text", Value: a.Name, Required: true},
			{Name: "address", Kind: "text", Value: a.Address},
			{Name: "contact", Kind: "text", Value: a.Contact},
			{Name: "city", Kind: "text", Value: a.City},
			{Name: "signer", Kind: "text", Value: a.Signer},
			{Name: "nip", Kind: "text", Value: a.NIP},
			{Name: "signer_title", Kind: "text", Value: a.Title},
			{Name: "letter_number", Kind: "text", Value: a.Number, Hint: lang.T("settings.number_hint")},
		})}}
	return d.send(w, r, status, "system", page.View{Frame: d.frame(r, lang.T("settings.system")), Body: body})
}

// maxLine bounds a line of the letterhead, in bytes.
const maxLine = 300

func (d *Dashboards) setAgency(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	a := figures.Agency{
		Name: formText(r, "agency"), Address: formText(r, "address"), Contact: formText(r, "contact"), City: formText(r, "city"),
		Signer: formText(r, "signer"), NIP: formText(r, "nip"), Title: formText(r, "signer_title"), Number: formText(r, "letter_number"),
	}
	var wrong []string
	if a.Name == "" {
		wrong = append(wrong, lang.T("settings.agency_missing"))
	}
	for _, s := range []string{a.Name, a.Address, a.Contact, a.City, a.Signer, a.NIP, a.Title, a.Number} {
		if len(s) > maxLine {
			wrong = append(wrong, lang.T("settings.line_long"))
			break
		}
	}
	if len(wrong) == 0 {
		if err := d.o.Figures.SetAgency(r.Context(), a); err != nil {
			wrong = append(wrong, page.Plain(err.Error()))
		}
	}
	if len(wrong) > 0 {
		return d.sendSystem(w, r, http.StatusUnprocessableEntity, a, wrong, nil)
	}
	if err := d.tell(r, "agency.set", "agency", a.Name); err != nil {
		return err
	}
	return acted(w, r, lang.Path(path), "tersimpan")
}
