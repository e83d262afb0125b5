package codec

import "fmt"

// Bounds of a schema, with all that it refers to. Reading one takes some kilobytes for each
// of its fields, and names within names grow with the square of their depth.
const (
	// MaxSchemaBytes bounds the text.
	MaxSchemaBytes = 4 << 20
	maxSchemaDepth = 500    // of brackets and braces
	maxSchemaItems = 20_000 // brackets, braces and semicolons that open or end something
)

// checkSchema refuses a schema that would take much time or memory to read.
func checkSchema(s Schema) error {
	text := s.Text
	total, items := len(text), 0
	if total > MaxSchemaBytes {
		return fmt.Errorf("it has more than %d MiB", MaxSchemaBytes>>20)
	}
	seen := map[string]bool{text: true}
	if err := checkText(s.Type, "", text, &items); err != nil {
		return err
	}
	var refer func(refs []Reference) error
	refer = func(refs []Reference) error {
		for _, r := range refs {
			if seen[r.Schema.Text] {
				continue
			}
			seen[r.Schema.Text] = true
			if total += len(r.Schema.Text); total > MaxSchemaBytes {
				return fmt.Errorf("it has more than %d MiB, with what it refers to", MaxSchemaBytes>>20)
			}
			if err := checkText(s.Type, "reference "+r.Name+": ", r.Schema.Text, &items); err != nil {
				return err
			}
			if err := refer(r.Schema.References); err != nil {
				return err
			}
		}
		return nil
	}
	return refer(s.References)
}

// checkText counts outside of strings and, where the language has any, comments.
func checkText(c Codec, what, text string, items *int) error {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch b := text[i]; b {
		case '{', '[', '(':
			*items++
			if depth++; depth > maxSchemaDepth {
				return fmt.Errorf("%smore than %d levels of brackets", what, maxSchemaDepth)
			}
		case '}', ']', ')':
			depth = max(0, depth-1)
		case ';':
			*items++
		case '"':
			i = skipString(text, i)
		case '\'':
			if c == Protobuf {
				i = skipString(text, i)
			}
		case '/':
			if c == Protobuf {
				i = skipComment(text, i)
			}
		}
		if *items > maxSchemaItems {
			return fmt.Errorf("%smore than %d definitions and fields", what, maxSchemaItems)
		}
	}
	return nil
}

// skipString returns the index of the quote that ends the string which begins at i. A string
// of a .proto file ends with its line at the latest; one of JSON has no bare line end.
func skipString(text string, i int) int {
	for quote := text[i]; i+1 < len(text); {
		i++
		switch text[i] {
		case quote, '\n':
			return i
		case '\\':
			i++
		}
	}
	return i
}

// skipComment returns the index of the last byte of the comment that begins at i, or i.
func skipComment(text string, i int) int {
	if i+1 >= len(text) {
		return i
	}
	switch text[i+1] {
	case '/':
		for i < len(text) && text[i] != '\n' {
			i++
		}
	case '*':
		for i += 2; i+1 < len(text) && (text[i] != '*' || text[i+1] != '/'); {
			i++
		}
		i++
	}
	return i
}
