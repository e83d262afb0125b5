// Package page holds what all HTML reports of drift look like: one style sheet of colours,
// tables and cards, for a light and a dark screen and for paper.
package page

import (
	_ "embed"
	"html/template"
)

// Style is the style sheet, to stand in a style element before a report's own rules.
//
//go:embed page.css
var Style string

// Policy is the first element of a report's head behind the character set: nothing of the page
// is fetched, run, submitted or framed, whatever the data that it shows manages to say. Styles
// stand in the page itself.
const Policy template.HTML = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"/>`
