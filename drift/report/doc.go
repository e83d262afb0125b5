// Package report writes drift reports: per model, version and window one self-contained
// HTML file with pictures by gonum/plot, and the same as JSON, and an index of them.
//
//	dir/index.html
//	dir/<model>/<version>/20010201T000000Z.html
//	dir/<model>/<version>/20010201T000000Z.json
//
// A Reporter writes them on its own schedule from what package drift's monitor has
// finished; its state is in the table windows, as job report.
package report
