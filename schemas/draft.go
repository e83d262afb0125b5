package schemas

import (
	"regexp"

	"github.com/goccy/go-yaml/ast"
)

var draftLine = regexp.MustCompile(`(?m)^["']?draft["']?:[ \t]+(\S.*)$`)

// IsDraft tells whether the text of a manifest says draft: true, or anything else but false, as yes:
// what was meant to be a draft must not serve for how it is spelled. Other than true is an error of
// the manifest. The rest of the manifest may be wrong, as drafts are.
func IsDraft(text []byte) bool {
	docs, err := ParseYAML(text)
	if err != nil {
		line := draftLine.FindSubmatch(text)
		if line == nil {
			return false
		}
		docs, err = ParseYAML(append([]byte("draft: "), line[1]...))
		if err != nil {
			return true
		}
	}
	for _, doc := range docs {
		values, _ := entries(doc)
		for _, v := range values {
			if keyText(v.Key) != "draft" {
				continue
			}
			if tagged, ok := v.Value.(*ast.TagNode); ok {
				v.Value = tagged.Value
			}
			switch value := v.Value.(type) {
			case *ast.BoolNode:
				return value.Value
			case *ast.NullNode:
				return false
			default:
				return true
			}
		}
	}
	return false
}
