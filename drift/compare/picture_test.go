//go:build !race

package compare_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/compare"
	"github.com/millrace/millrace/drift/dataset"
)

// flightsFile is what `make native` installs.
const flightsFile = "../../deploy/native/node_modules/vega-datasets/data/flights-3m.parquet"

// TestPicture draws the picture of the README: charts of a report on real flights, as the report
// draws them. `make picture` makes it. Under the race detector reading three million flights takes
// half a minute, and finds nothing: it is left out there.
func TestPicture(t *testing.T) {
	if _, err := os.Stat(flightsFile); errors.Is(err, fs.ErrNotExist) {
		t.Skip("the flights are not installed: make native")
	}
	flights, err := dataset.Open(t.Context(), flightsFile, dataset.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, flights.Close()) })
	january := flightsOf(t, flights, "January 2001", time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC))
	day := flightsOf(t, flights, "28 April 2001", time.Date(2001, 4, 28, 0, 0, 0, 0, time.UTC), time.Date(2001, 4, 29, 0, 0, 0, 0, time.UTC))
	r, err := compare.Compare(t.Context(), january, day, compare.Options{})
	require.NoError(t, err)
	drawn := picture(t, page(t, r), day.name+" from "+january.name)
	wellFormed(t, drawn)
	golden(t, "flights.svg", []byte(drawn))
}

// flightsOf is the table of the flights that left in a span of time.
func flightsOf(t *testing.T, flights dataset.Source, name string, from, to time.Time) *memoryTable {
	t.Helper()
	columns, err := dataset.Columns(flights, "date", "delay", "distance")
	require.NoError(t, err)
	var delay, distance []int64
	var hour []float64
	require.NoError(t, flights.Scan(t.Context(), columns, func(r arrow.Record) error {
		at := r.Column(0).(*array.Timestamp)
		unit := at.DataType().(*arrow.TimestampType).Unit
		for i := range at.Len() {
			left := at.Value(i).ToTime(unit)
			if left.Before(from) || !left.Before(to) {
				continue
			}
			delay = append(delay, r.Column(1).(*array.Int64).Value(i))
			distance = append(distance, r.Column(2).(*array.Int64).Value(i))
			hour = append(hour, float64(left.Hour())+float64(left.Minute())/60)
		}
		return nil
	}))
	return newTable(t, name, namedColumn{"delay", delay}, namedColumn{"hour", hour}, namedColumn{"distance", distance})
}

// What picture takes out of the page of a report.
var (
	pageCard  = regexp.MustCompile(`(?s)<section class="col.*?</section>`)
	cardName  = regexp.MustCompile(`<h3[^>]*><span><bdi>(.*?)</bdi>`)
	cardSays  = regexp.MustCompile(`<(?:b|span) class="v (\w+)">(.*?)</(?:b|span)>`)
	cardPlot  = regexp.MustCompile(`(?s)<svg (viewBox="[0-9 ]+" preserveAspectRatio="none") role="img" aria-label="([^"]*)">(.*?)</svg>`)
	cardTick  = regexp.MustCompile(`<span(?: class="(\w+)")? style="left:([0-9.]+)%">(.*?)</span>`)
	cardTest  = regexp.MustCompile(`<div class="chips"><span>(\S+) <b>(.*?)</b></span>.*?<span>threshold <b>(.*?)</b></span>`)
	cardHow   = regexp.MustCompile(`<p class="how">(.*?)</p>`)
	plotRules = regexp.MustCompile(`(?m)^\.[rk]\{.*$`)
	pageColor = regexp.MustCompile(`--(\w+):(#[0-9a-f]+)`)
)

// picture lays charts of a page side by side, with what the page says of each column. Colours are
// those of the page in the light.
func picture(t *testing.T, html, title string) string {
	t.Helper()
	const width, height, gap, head, plotTop = 296, 128, 20, 54, 44
	colors := map[string]string{}
	for _, m := range pageColor.FindAllStringSubmatch(html, -1) {
		if colors[m[1]] == "" { // those of the dark come behind them
			colors[m[1]] = m[2]
		}
	}
	style := strings.Join(plotRules.FindAllString(html, -1), "\n")
	require.Contains(t, style, ".r{")
	require.Contains(t, style, ".k{")
	var s strings.Builder
	cards := pageCard.FindAllString(html, -1)
	require.Len(t, cards, 3)
	all, whole := gap+len(cards)*(width+gap), head+plotTop+height+62
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="Drift of the flights of %s" font-family="system-ui,'Liberation Sans',Arial,sans-serif" font-size="13">`+"\n",
		all, whole, title)
	fmt.Fprintf(&s, "<style>%s\n.dim{fill:var(--dim)}.bad{fill:var(--bad)}.good{fill:var(--good)}.name{font-weight:600;font-size:15px}</style>\n", style)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="var(--bg)"/>`+"\n", all, whole)
	fmt.Fprintf(&s, `<text x="%d" y="28" fill="var(--fg)"><tspan font-size="17" font-weight="600">Drift of flights of %s</tspan><tspan class="dim" dx="16">reference filled, current outlined</tspan></text>`+"\n", gap, title)
	for i, card := range cards {
		name, says, plot := cardName.FindStringSubmatch(card), cardSays.FindStringSubmatch(card), cardPlot.FindStringSubmatch(card)
		test, how := cardTest.FindStringSubmatch(card), cardHow.FindStringSubmatch(card)
		for _, found := range [][]string{name, says, plot, test} {
			require.NotNil(t, found, card)
		}
		fmt.Fprintf(&s, `<g transform="translate(%d %d)">`+"\n", gap+i*(width+gap), head)
		fmt.Fprintf(&s, `<text y="14" fill="var(--fg)"><tspan class="name">%s</tspan><tspan class="%s" font-weight="600" dx="10">%s</tspan></text>`+"\n", name[1], says[1], says[2])
		fmt.Fprintf(&s, `<text y="33" class="dim">%s %s, threshold %s</text>`+"\n", test[1], test[2], test[3])
		fmt.Fprintf(&s, `<svg y="%d" width="%d" height="%d" %s aria-label="%s">%s</svg>`+"\n", plotTop, width, height, plot[1], plot[2], noHover.ReplaceAllString(plot[3], ""))
		fmt.Fprintf(&s, `<path d="M0 %dH%d" stroke="var(--dim)"/>`+"\n", plotTop+height, width)
		for _, tick := range cardTick.FindAllStringSubmatch(card, -1) {
			anchor := map[string]string{"first": "start", "last": "end", "": "middle"}[tick[1]]
			at, err := strconv.ParseFloat(tick[2], 64)
			require.NoError(t, err)
			fmt.Fprintf(&s, `<text x="%.1f" y="%d" class="dim" font-size="12" text-anchor="%s">%s</text>`+"\n", at*width/100, plotTop+height+16, anchor, tick[3])
		}
		if how != nil { // in two lines: the picture is narrow
			for k, line := range strings.SplitAfter(how[1], "; ") {
				fmt.Fprintf(&s, `<text y="%d" class="dim" font-size="11">%s</text>`+"\n", plotTop+height+35+14*k, strings.TrimSpace(line))
			}
		}
		s.WriteString("</g>\n")
	}
	s.WriteString("</svg>\n")
	return regexp.MustCompile(`var\(--(\w+)\)`).ReplaceAllStringFunc(s.String(), func(v string) string {
		color := colors[v[len("var(--"):len(v)-1]]
		require.NotEmpty(t, color, v)
		return color
	})
}

// noHover are the areas that show figures to a pointer.
var noHover = regexp.MustCompile(`<rect class="h".*?</rect>`)
