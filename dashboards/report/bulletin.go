package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-fonts/liberation/liberationsansbold"
	"github.com/go-fonts/liberation/liberationsansregular"
	"github.com/johnfercher/maroto/v2"
	"github.com/johnfercher/maroto/v2/pkg/components/code"
	"github.com/johnfercher/maroto/v2/pkg/components/col"
	"github.com/johnfercher/maroto/v2/pkg/components/image"
	"github.com/johnfercher/maroto/v2/pkg/components/line"
	"github.com/johnfercher/maroto/v2/pkg/components/row"
	"github.com/johnfercher/maroto/v2/pkg/components/text"
	"github.com/johnfercher/maroto/v2/pkg/config"
	"github.com/johnfercher/maroto/v2/pkg/consts/align"
	"github.com/johnfercher/maroto/v2/pkg/consts/border"
	"github.com/johnfercher/maroto/v2/pkg/consts/extension"
	"github.com/johnfercher/maroto/v2/pkg/consts/fontstyle"
	"github.com/johnfercher/maroto/v2/pkg/consts/pagesize"
	"github.com/johnfercher/maroto/v2/pkg/core"
	"github.com/johnfercher/maroto/v2/pkg/props"
	"github.com/johnfercher/maroto/v2/pkg/repository"
	"github.com/phpdave11/gofpdf"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// Letter is a bulletin with the names that it needs on paper.
type Letter struct {
	Bulletin figures.Bulletin
	Sites    map[string]places.Site // of its figures and changes
	District func(code string) string
	BaseURL  string // how people reach the pages, for the QR code

	Categories category.Settings
}

// id is Indonesian: bulletins are letters of an Indonesian agency.
const id = page.Indonesian

// mostBars is how many stations the chart shows.
const mostBars = 20

// pdfMu guards gofpdf's defaults, the only way to set a document's modification
// date and the order of its catalogue through maroto.
var pdfMu sync.Mutex

// PDF writes the bulletin as the agency signs it. The same letter gives the same
// bytes.
func (l Letter) PDF() ([]byte, error) {
	if _, err := fonts(); err != nil {
		return nil, err
	}
	b := l.Bulletin
	custom, err := repository.New().
		AddUTF8FontFromBytes(typeface, fontstyle.Normal, liberationsansregular.TTF).
		AddUTF8FontFromBytes(typeface, fontstyle.Bold, liberationsansbold.TTF).Load()
	if err != nil {
		return nil, fmt.Errorf("load the letter's typeface: %w", err)
	}
	made := b.Published
	if made.IsZero() {
		made = b.Made
	}
	made = made.In(page.WIB).Truncate(time.Second)
	c := config.NewBuilder().WithPageSize(pagesize.A4).WithLeftMargin(18).WithRightMargin(18).WithTopMargin(12).WithBottomMargin(16).WithMaxGridSize(grid).
		WithCustomFonts(custom).WithDefaultFont(&props.Font{Family: typeface, Size: 9.5}).WithCompression(true).
		WithPageNumber(props.PageNumber{Pattern: id.T("bulletin.page", printable(b.ID), fmt.Sprint(b.Revision)), Place: props.Bottom, Family: typeface, Size: 7.5, Color: grey}).
		WithTitle(id.T("bulletin.title")+" "+b.ID, true).WithAuthor(printable(b.Agency.Name), true).WithCreator("Pantau", true).
		WithSubject("SHA-256 "+b.Hash, true).WithCreationDate(made)
	if b.Simulated {
		mark, err := watermark(id.T("bulletin.mark"))
		if err != nil {
			return nil, err
		}
		c = c.WithBackgroundImage(mark, extension.Png)
	}
	pdfMu.Lock()
	defer pdfMu.Unlock()
	gofpdf.SetDefaultCatalogSort(true)
	gofpdf.SetDefaultModificationDate(made)
	m := maroto.New(c.Build())
	for _, part := range []func(core.Maroto) error{l.head, l.opening, l.changes, l.table, l.chart, l.advice, l.signature} {
		if err := part(m); err != nil {
			return nil, fmt.Errorf("write bulletin %s: %w", b.ID, err)
		}
	}
	doc, err := m.Generate()
	if err != nil {
		return nil, fmt.Errorf("write bulletin %s: %w", b.ID, err)
	}
	return doc.GetBytes(), nil
}

// grid is how many columns the letter's width has.
const grid = 24

var (
	grey  = &props.Color{Red: 90, Green: 90, Blue: 90}
	rule  = &props.Color{Red: 170, Green: 170, Blue: 170}
	shade = &props.Color{Red: 235, Green: 238, Blue: 242}
	alarm = &props.Color{Red: 170, Green: 0, Blue: 0}
)

func centre(size float64, style fontstyle.Type) props.Text {
	return props.Text{Size: size, Style: style, Align: align.Center}
}

func (l Letter) head(m core.Maroto) error {
	a, b := l.Bulletin.Agency, l.Bulletin
	m.AddAutoRow(text.NewCol(grid, printable(strings.ToUpper(a.Name)), centre(13, fontstyle.Bold)))
	m.AddRow(1.5)
	for _, s := range []string{a.Address, a.Contact} {
		if s != "" {
			m.AddAutoRow(text.NewCol(grid, printable(s), centre(9, fontstyle.Normal)))
		}
	}
	m.AddRow(3, line.NewCol(grid, props.Line{Thickness: 0.9, OffsetPercent: 60, SizePercent: 100}))
	m.AddRow(2, line.NewCol(grid, props.Line{Thickness: 0.3, OffsetPercent: 20, SizePercent: 100}))
	if b.Simulated {
		m.AddRow(9, text.NewCol(grid, id.T("bulletin.simulated"), props.Text{Size: 10, Style: fontstyle.Bold, Align: align.Center, Top: 2, Color: alarm})).
			WithStyle(&props.Cell{BorderType: border.Full, BorderColor: alarm, BorderThickness: 0.5})
	}
	m.AddRow(4)
	m.AddAutoRow(text.NewCol(grid, id.T("bulletin.title"), centre(14, fontstyle.Bold)))
	m.AddRow(1)
	m.AddAutoRow(text.NewCol(grid, id.T("bulletin.subtitle"), centre(11, fontstyle.Normal)))
	m.AddRow(1)
	under := id.T("bulletin.number", printable(cmp.Or(b.Number, b.ID)))
	if b.Revision > 0 {
		under += " · " + id.T("bulletin.revision", fmt.Sprint(b.Revision))
	}
	m.AddAutoRow(text.NewCol(grid, under, centre(10, fontstyle.Normal)))
	m.AddRow(4)
	return nil
}

var weekdays = [...]string{"Minggu", "Senin", "Selasa", "Rabu", "Kamis", "Jumat", "Sabtu"}

func (l Letter) opening(m core.Maroto) error {
	b := l.Bulletin
	at := b.At.In(page.WIB)
	month := strings.Fields(id.Date(at))[1]
	paragraph(m, id.T("bulletin.opening", weekdays[at.Weekday()], Words(at.Day()), month, Words(at.Year()), id.Date(at), id.Clock(at)))
	status := page.Key("bulletin.validated")
	if b.Status() != figures.Validated {
		status = "bulletin.provisional"
	}
	paragraph(m, id.T(status))
	return nil
}

func paragraph(m core.Maroto, s string) {
	m.AddAutoRow(text.NewCol(grid, s, props.Text{VerticalPadding: 0.8}))
	m.AddRow(2.5)
}

// tallRow is the height of a table's row of three lines, in mm.
const tallRow = 14

// breakBefore begins a new page if the current one has less than so many mm left.
func breakBefore(m core.Maroto, height float64) bool {
	if m.FitlnCurrentPage(height) {
		return false
	}
	for m.FitlnCurrentPage(5) {
		m.AddRow(5)
	}
	return true
}

func heading(m core.Maroto, s string) {
	m.AddRow(2)
	m.AddAutoRow(text.NewCol(grid, s, props.Text{Size: 11, Style: fontstyle.Bold}))
	m.AddRow(1.5)
}

// cellOf is one cell of a table.
type cellOf struct {
	width int
	text  string
	right bool
	bold  bool
	fill  *props.Color
}

func tableRow(m core.Maroto, head bool, cells ...cellOf) {
	style := props.Cell{BorderType: border.Bottom, BorderColor: rule, BorderThickness: 0.2}
	if head {
		style.BackgroundColor, style.BorderColor = shade, grey
	}
	r := row.New()
	for _, c := range cells {
		p := props.Text{Size: 8.5, Top: 1, Bottom: 1, Left: 1, Right: 1}
		if head || c.bold {
			p.Style = fontstyle.Bold
		}
		if c.right {
			p.Align = align.Right
		}
		own := style
		if c.fill != nil {
			own.BackgroundColor = c.fill
		}
		r.Add(text.NewCol(c.width, c.text, p).WithStyle(&own)) // a row's style would hide its columns'
	}
	m.AddRows(r)
}

// name is a station with its district, which four names need.
func (l Letter) name(site string) string {
	s, ok := l.Sites[site]
	if !ok {
		return printable(site)
	}
	name := cmp.Or(s.Name, site)
	if d := l.District(s.District); d != "" {
		name += ", " + d
	}
	return printable(name)
}

func (l Letter) class(f figures.Figure) string {
	s, ok := l.Sites[f.Site]
	if !ok {
		return "–"
	}
	return id.Name("class.", string(s.ClassAt(f.End)))
}

func (l Letter) value(f figures.Figure) string {
	switch {
	case !f.OK:
		return "–"
	case f.Index.Above:
		for _, p := range f.Parts {
			if p.Parameter == f.Index.Dominant {
				return id.T("bulletin.above", id.Value(string(p.Parameter), p.Mean))
			}
		}
	}
	return f.Index.String()
}

func wordOf(c figures.Category) string { return category.Word(id, c) }

// swatch is a category's colour on paper; its word stands beside it.
func (l Letter) swatch(c figures.Category) *props.Color {
	n, err := strconv.ParseUint(l.Categories.Swatch(c)[1:], 16, 32)
	if err != nil {
		return nil // Settings.Check refuses it
	}
	return &props.Color{Red: int(n >> 16), Green: int(n >> 8 & 0xff), Blue: int(n & 0xff)}
}

func (l Letter) word(f figures.Figure) string {
	if !f.OK {
		return id.T("bulletin.no_data")
	}
	return wordOf(f.Index.Category)
}

// ranked are the figures, the highest index first and what cannot be judged at
// the end.
func (l Letter) ranked() []figures.Figure {
	out := slices.Clone(l.Bulletin.Figures)
	slices.SortStableFunc(out, func(a, b figures.Figure) int {
		switch {
		case a.OK != b.OK && a.OK:
			return -1
		case a.OK != b.OK:
			return 1
		}
		switch {
		case a.OK && figures.Higher(a, b):
			return -1
		case a.OK && figures.Higher(b, a):
			return 1
		}
		return cmp.Or(cmp.Compare(l.name(a.Site), l.name(b.Site)), cmp.Compare(a.Site, b.Site))
	})
	return out
}

func (l Letter) table(m core.Maroto) error {
	ranked := l.ranked()
	if len(ranked) == 0 {
		paragraph(m, id.T("bulletin.none"))
		return nil
	}
	head := func() {
		tableRow(m, true, cellOf{width: 1, text: "No."}, cellOf{width: 7, text: id.T("bulletin.station")}, cellOf{width: 2, text: id.T("bulletin.class")},
			cellOf{width: 4, text: id.T("bulletin.index"), right: true}, cellOf{width: 1}, cellOf{width: 4, text: id.T("bulletin.category")},
			cellOf{width: 2, text: id.T("bulletin.dominant")}, cellOf{width: 3, text: id.T("bulletin.judged"), right: true})
	}
	head()
	counts := map[figures.Category]int{}
	for i, f := range ranked {
		if breakBefore(m, tallRow) {
			head()
		}
		dominant, swatch := "–", cellOf{width: 1}
		if f.OK {
			dominant, swatch.fill = id.Name("q.", string(f.Index.Dominant)), l.swatch(f.Index.Category)
		}
		counts[f.Index.Category]++
		tableRow(m, false, cellOf{width: 1, text: fmt.Sprint(i + 1)}, cellOf{width: 7, text: l.name(f.Site)}, cellOf{width: 2, text: l.class(f)},
			cellOf{width: 4, text: l.value(f), right: true, bold: true}, swatch, cellOf{width: 4, text: l.word(f)},
			cellOf{width: 2, text: dominant}, cellOf{width: 3, text: id.T("bulletin.of_seven", fmt.Sprint(f.Index.Judged)), right: true})
	}
	var list []string
	for c := figures.Berbahaya; ; c-- {
		if counts[c] > 0 {
			list = append(list, fmt.Sprintf("%d %s", counts[c], strings.ToLower(wordOf(c))))
		}
		if c == figures.CategoryNone {
			break
		}
	}
	m.AddRow(2.5)
	paragraph(m, id.T("bulletin.counts", strings.Join(list, ", ")))
	return nil
}

func (l Letter) changes(m core.Maroto) error {
	b := l.Bulletin
	if b.Revision == 0 {
		return nil
	}
	paragraph(m, id.T("bulletin.corrects", fmt.Sprint(b.Revision), printable(id.Name("revision.", b.Reason))))
	if len(b.Changes) == 0 {
		return nil
	}
	tableRow(m, true, cellOf{width: 8, text: id.T("bulletin.station")}, cellOf{width: 6, text: id.T("bulletin.before")},
		cellOf{width: 6, text: id.T("bulletin.after")}, cellOf{width: 4, text: id.T("bulletin.reason")})
	say := func(f figures.Figure) string {
		if !f.OK {
			return l.word(f)
		}
		return l.value(f) + " · " + l.word(f)
	}
	for _, c := range b.Changes {
		tableRow(m, false, cellOf{width: 8, text: l.name(c.Site)}, cellOf{width: 6, text: say(c.Before)},
			cellOf{width: 6, text: say(c.After), bold: true}, cellOf{width: 4, text: printable(id.Name("revision.", c.Reason))})
	}
	m.AddRow(3)
	return nil
}

func (l Letter) chart(m core.Maroto) error {
	var bars []bar
	for _, f := range l.ranked() {
		if f.OK {
			bars = append(bars, bar{l.name(f.Site), f.Index.Index})
		}
	}
	if len(bars) == 0 {
		return nil
	}
	all := len(bars)
	bars = bars[:min(all, mostBars)]
	picture, err := barChart(id.T("bulletin.chart"), bars, l.Categories)
	if err != nil {
		return err
	}
	height := 174.0 * chartHeight(len(bars)) / 1200 // the page's width between margins
	m.AddRow(height, image.NewFromBytesCol(grid, picture, extension.Png, props.Rect{Percent: 100, Center: true}))
	if all > len(bars) {
		m.AddAutoRow(text.NewCol(grid, id.T("bulletin.charted", fmt.Sprint(len(bars))), props.Text{Size: 8, Color: grey}))
	}
	return nil
}

func (l Letter) advice(m core.Maroto) error {
	present := map[figures.Category]bool{}
	for _, f := range l.Bulletin.Figures {
		if f.OK {
			present[f.Index.Category] = true
		}
	}
	if len(present) == 0 {
		return nil
	}
	type entry struct{ word, advice, source string }
	var list []entry
	height := 12.0
	for c := figures.Berbahaya; c >= figures.Baik; c-- {
		if !present[c] {
			continue
		}
		sensitive, everyone, source := l.Categories.Advise(id, c)
		words := fmt.Sprintf("%s: %s %s: %s", id.T("public.sensitive"), sensitive, id.T("public.everyone"), everyone)
		list = append(list, entry{wordOf(c), legible(words), legible(source)})
		height += 1.5 + 4.4*float64((len(words)+91)/92)
	}
	breakBefore(m, height+signatureHeight) // a signature never stands on a page of its own
	heading(m, id.T("bulletin.advice"))
	for i, e := range list {
		m.AddAutoRow(text.NewCol(5, e.word, props.Text{Style: fontstyle.Bold}), text.NewCol(19, e.advice, props.Text{VerticalPadding: 0.6}))
		m.AddRow(1.5)
		if e.source != "" && (i == len(list)-1 || list[i+1].source != e.source) { // of this one and those before
			m.AddAutoRow(text.NewCol(grid, e.source, props.Text{Size: 7.5, Color: grey}))
			m.AddRow(1.5)
		}
	}
	return nil
}

const signatureHeight = 42 // mm

func (l Letter) signature(m core.Maroto) error {
	b, a := l.Bulletin, l.Bulletin.Agency
	address := strings.TrimSuffix(l.BaseURL, "/") + "/buletin/" + b.ID
	when := b.Published
	if when.IsZero() {
		when = b.Made
	}
	place := id.Date(when)
	if a.City != "" {
		place = a.City + ", " + place
	}
	left := col.New(9).Add(
		text.New(id.T("bulletin.verify"), props.Text{Size: 7.5, Color: grey}),
		text.New(printable(address), props.Text{Size: 7.5, Top: 10}),
		text.New(id.T("bulletin.revision", fmt.Sprint(b.Revision)), props.Text{Size: 7.5, Top: 17}),
		text.New(id.T("bulletin.fingerprint", group(b.Hash)), props.Text{Size: 6.5, Top: 21}),
	)
	right := col.New(10).Add(
		text.New(printable(place), props.Text{Align: align.Center}),
		text.New(printable(a.Title), props.Text{Align: align.Center, Top: 5}),
		text.New(printable(a.Signer), props.Text{Align: align.Center, Top: 29, Style: fontstyle.Bold}),
	)
	if a.NIP != "" {
		right.Add(text.New(id.T("bulletin.nip", printable(a.NIP)), props.Text{Align: align.Center, Top: 34}))
	}
	if b.By == "" {
		right.Add(text.New(id.T("bulletin.automatic"), props.Text{Align: align.Center, Top: 17, Size: 7.5, Color: grey}))
	}
	m.AddRow(4)
	m.AddRow(signatureHeight-4, code.NewQrCol(5, address, props.Rect{Percent: 88}), left, right)
	return nil
}

// group breaks a fingerprint into groups that an eye can compare.
func group(hash string) string {
	var out []string
	for len(hash) > 8 {
		out = append(out, hash[:8])
		hash = hash[8:]
	}
	return strings.Join(append(out, hash), " ")
}
