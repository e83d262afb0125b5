package schemas

import "reflect"

// RowColumns returns the columns of a row, quoted: the tags ch of a struct's fields, in their
// order. Who reads a table by them, and not by an asterisk, reads it also when a later release
// has added columns.
func RowColumns(row reflect.Type) []string {
	var columns []string
	for _, f := range reflect.VisibleFields(row) {
		if name := f.Tag.Get("ch"); name != "" && name != "-" {
			columns = append(columns, "`"+name+"`")
		}
	}
	return columns
}
