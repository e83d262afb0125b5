package schemas

import (
	"fmt"
	"regexp"
	"strings"
)

// ColumnNames gives names to features and outputs that are called anything: names of columns, each
// once, whatever its case, and none of a system column.
type ColumnNames struct{ taken map[string]bool } // in lower case

// NewColumnNames returns names of which none is given yet.
func NewColumnNames() *ColumnNames {
	n := &ColumnNames{taken: map[string]bool{}}
	for _, c := range append(SystemColumns(), ColumnStoredAt) {
		n.Take(c)
	}
	return n
}

// Take keeps a name from being given.
func (n *ColumnNames) Take(name string) { n.taken[strings.ToLower(name)] = true }

// Give returns a name close to the wanted one.
func (n *ColumnNames) Give(want string) string {
	name := Identifier(want)
	for i := 2; n.taken[strings.ToLower(name)]; i++ {
		name = fmt.Sprintf("%s_%d", Identifier(want), i)
	}
	n.Take(name)
	return name
}

// GiveAll returns a name for each wanted one. Those that are names of columns are given theirs
// before any other is made: a feature has its name in Avro and Protobuf where its key is none, and
// no other feature may have that for its key (Feature.FieldName).
func (n *ColumnNames) GiveAll(want []string) []string {
	names := make([]string, len(want))
	for _, own := range []bool{true, false} {
		for i, w := range want {
			if columnName.MatchString(w) == own {
				names[i] = n.Give(w)
				n.Take(w)
			}
		}
	}
	return names
}

var notIdentifier = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// Identifier makes an identifier of at most 100 characters, which leaves room for a number behind
// it, of any text.
func Identifier(text string) string {
	name := notIdentifier.ReplaceAllString(text, "_")
	if !strings.HasSuffix(text, "_") && name != text {
		name = strings.TrimSuffix(name, "_")
	}
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "f" + name
	}
	return name[:min(len(name), 100)]
}
