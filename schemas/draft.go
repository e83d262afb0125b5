package schemas

import (
	"regexp"

	"github.com/goccy/go-yaml/ast"
)

var draftLine = regexp.MustCompile(`(?m)^"?draft"?:[ \t]+true[ \t]*(#.*)?\r?$`)

// IsDraft tells whether the text of a manifest says draft: true. The rest of the manifest may be
// wrong, as drafts are.
func IsDraft(text []byte) bool {
	docs, err := ParseYAML(text)
	if err != nil {
		return draftLine.Match(text)
	}
	for _, doc := range docs {
		values, _ := entries(doc)
		for _, v := range values {
			if b, ok := v.Value.(*ast.BoolNode); ok && b.Value && keyText(v.Key) == "draft" {
				return true
			}
		}
	}
	return false
}
