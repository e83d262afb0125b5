// Package page holds what all HTML reports of drift look like: one style sheet of colours,
// tables and cards, for a light and a dark screen and for paper.
package page

import _ "embed"

// Style is the style sheet, to stand in a style element before a report's own rules.
//
//go:embed page.css
var Style string
