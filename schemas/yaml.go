package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What a YAML text may be before anything parses it. The parser's time and memory grow with
// the square of the nesting and of the keys of one mapping, and an alias multiplies what it
// stands for; the lexer's grow with the text alone.
const (
	MaxYAMLBytes = 1 << 20
	maxYAMLDepth = 100     // collections within each other
	maxYAMLKeys  = 1000    // of one mapping
	maxYAMLNodes = 200_000 // with each alias counted as what it stands for
)

// ReadYAML reads a YAML file of at most MaxYAMLBytes. The text is not yet checked.
func ReadYAML(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's choice
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readYAML(f, path)
}

func readYAML(r io.Reader, path string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxYAMLBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxYAMLBytes {
		return nil, fmt.Errorf("%s has more than %d KiB: too large for YAML that a person writes", path, MaxYAMLBytes>>10)
	}
	return text, nil
}

// CheckYAML refuses a text that would take much time or memory to parse: too large, nested
// too deep, with too many keys in one mapping, or with aliases that become too much. The
// error names line and column. A text that passes can still be no YAML.
func CheckYAML(text []byte) (err error) {
	defer func() { // lexer and parser panic on some texts that are no YAML
		if p := recover(); p != nil {
			err = fmt.Errorf("not readable as YAML: %v", p)
		}
	}()
	_, err = parseChecked(text)
	if _, syntax := errors.AsType[*YAMLError](err); syntax {
		return nil // whoever decodes it says so, with the reason
	}
	return err
}

// parseChecked parses a text that passes CheckYAML's bounds. What is no YAML is a YAMLError.
func parseChecked(text []byte) (*ast.File, error) {
	if len(text) > MaxYAMLBytes {
		return nil, fmt.Errorf("%d bytes; at most %d are taken", len(text), MaxYAMLBytes)
	}
	line := 0
	for l := range bytes.Lines(text) { // a category in Latin-1 would be another one than requests have
		if line++; !utf8.Valid(l) {
			return nil, &YAMLError{Line: line, Column: 1, What: "not UTF-8; save the file in that encoding"}
		}
	}
	tokens := lexer.Tokenize(string(text))
	if err := checkShape(tokens); err != nil {
		return nil, err
	}
	file, err := parser.Parse(plainInFlow(string(text), tokens), 0)
	if err != nil {
		return nil, syntaxError(err)
	}
	a := aliases{sizes: map[string]int{}}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			a.size(doc.Body)
		}
	}
	return file, a.err
}

// yamlCollection is a sequence or mapping that is open.
type yamlCollection struct {
	column   int // of its entries, where it is in block style
	flow     bool
	sequence bool // in flow style, where it can be told
	keys     int
}

// checkShape bounds depth and keys. It goes by columns, as YAML does, and counts what might
// be a collection where it cannot tell.
func checkShape(tokens token.Tokens) error {
	var open []yamlCollection
	line := 0
	block := func(column int) *yamlCollection {
		for len(open) > 0 && !open[len(open)-1].flow && open[len(open)-1].column > column {
			open = open[:len(open)-1]
		}
		if n := len(open); n == 0 || open[n-1].flow || open[n-1].column != column {
			open = append(open, yamlCollection{column: column})
		}
		return &open[len(open)-1]
	}
	inFlow := func() bool { return len(open) > 0 && open[len(open)-1].flow }
	for _, t := range tokens {
		at := t.Position
		if at.Line != line {
			line = at.Line
			for len(open) > 0 && !open[len(open)-1].flow && open[len(open)-1].column > at.Column {
				open = open[:len(open)-1]
			}
		}
		switch t.Type { //nolint:exhaustive // no other token opens or closes anything
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, yamlCollection{flow: true, sequence: t.Type == token.SequenceStartType})
		case token.SequenceEndType, token.MappingEndType:
			for len(open) > 0 && !inFlow() { // block style within flow style is no YAML
				open = open[:len(open)-1]
			}
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		case token.SequenceEntryType, token.MappingKeyType:
			block(at.Column)
		case token.MappingValueType:
			var in *yamlCollection
			switch {
			case inFlow():
				in = &open[len(open)-1]
			case t.Prev != nil:
				in = block(t.Prev.Position.Column)
			default:
				in = block(at.Column)
			}
			if in.sequence {
				break // a colon within a plain text, or a mapping of one key
			}
			if in.keys++; in.keys > maxYAMLKeys {
				return fmt.Errorf("line %d, column %d: a mapping of more than %d keys", at.Line, at.Column, maxYAMLKeys)
			}
		case token.DocumentHeaderType, token.DocumentEndType:
			open = open[:0]
		}
		if len(open) > maxYAMLDepth {
			return fmt.Errorf("line %d, column %d: more than %d collections within each other", at.Line, at.Column, maxYAMLDepth)
		}
	}
	return nil
}

// aliases counts nodes, each alias as many as it stands for.
type aliases struct {
	sizes map[string]int // by anchor
	err   error
}

func (a *aliases) size(node ast.Node) int {
	if a.err != nil {
		return 0
	}
	n := 1
	switch node := node.(type) {
	case *ast.MappingNode:
		for _, v := range node.Values {
			n += a.size(v)
		}
	case *ast.MappingValueNode:
		n += a.size(node.Key) + a.size(node.Value)
	case *ast.MappingKeyNode:
		n += a.size(node.Value)
	case *ast.SequenceNode:
		for _, v := range node.Values {
			n += a.size(v)
		}
	case *ast.TagNode:
		n += a.size(node.Value)
	case *ast.AnchorNode:
		name := node.Name.String()
		a.sizes[name] = -1 // until it is complete
		n += a.size(node.Value)
		a.sizes[name] = n
	case *ast.AliasNode:
		name := node.Value.String()
		of := a.sizes[name] // 0 if there is none: the decoder says so
		if of < 0 {
			a.fail(node, errors.New("alias *"+name+" stands within what it stands for"))
			return 0
		}
		n += of
	}
	if n > maxYAMLNodes {
		a.fail(node, fmt.Errorf("more than %d values, each alias counted as what it stands for", maxYAMLNodes))
	}
	return n
}

func (a *aliases) fail(node ast.Node, err error) {
	if a.err == nil {
		at := node.GetToken().Position
		a.err = fmt.Errorf("line %d, column %d: %w", at.Line, at.Column, err)
	}
}
