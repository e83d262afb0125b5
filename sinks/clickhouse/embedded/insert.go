package embedded

import (
	"fmt"
	"strings"
)

// insert is an INSERT statement whose rows follow it, as ClickHouse's parser sees it in a text
// of which only the statement itself must be there: offsets are bytes from the text's start.
type insert struct {
	from   int    // where FROM INFILE belongs: before SETTINGS, FORMAT and VALUES
	end    int    // where FORMAT or VALUES begins
	data   int    // where the rows begin
	format string // of the rows
	input  [2]int // of INSERT … SELECT … FROM input(…): where the name input begins, and its arguments; else 0
}

// statement returns the statement of text that reads the rows from the file path.
func (i *insert) statement(text, path string) string {
	if i.input[0] > 0 {
		return fmt.Sprintf("%sfile('%s', %s, %s", text[:i.input[0]], path, i.format, text[i.input[1]:i.end])
	}
	return fmt.Sprintf("%s FROM INFILE '%s' %s FORMAT %s", text[:i.from], path, text[i.from:i.end], i.format)
}

// parseInsert finds out whether text is an INSERT with rows behind it. INSERT … SELECT has
// none, unless it selects from input(…), and INSERT … FROM INFILE neither.
func parseInsert(text string) (insert, bool) {
	l := lexer{text: text}
	if !l.next().is("INSERT") {
		return insert{}, false
	}
	t := l.next()
	for t.is("INTO") || t.is("TABLE") || t.is("FUNCTION") {
		t = l.next()
	}
	// t is the table's name or the first part of it. It may be a keyword, such as values.
	t = l.next()
	for t.text == "." {
		l.next()
		t = l.next()
	}
	settings := -1
	for ; t.text != ""; t = l.next() {
		switch {
		case t.text == "(":
			if l.selectFollows() {
				return insert{}, false
			}
			l.skipParentheses()
		case t.is("SELECT"):
			return l.parseInput()
		case t.is("WITH"), t.is("WATCH"), t.is("FROM"):
			return insert{}, false
		case t.is("SETTINGS"):
			settings = t.at
		case t.is("VALUES"):
			return insert{from: fromClause(settings, t.at), end: t.at, data: l.pos, format: "Values"}, true
		case t.is("FORMAT"):
			if name := l.next(); name.word() {
				return insert{from: fromClause(settings, t.at), end: t.at, data: skipBlank(text, l.pos), format: name.text}, true
			}
		}
	}
	return insert{}, false
}

// parseInput reads on behind INSERT INTO t SELECT.
func (l *lexer) parseInput() (insert, bool) {
	var ins insert
	for t := l.next(); t.text != ""; t = l.next() {
		switch {
		case t.text == "(":
			l.skipParentheses()
		case t.is("input") && ins.input[0] == 0:
			if ahead := *l; ahead.next().text == "(" {
				ins.input = [2]int{t.at, ahead.pos}
			}
		case t.is("FORMAT") && ins.input[0] > 0:
			if name := l.next(); name.word() {
				ins.from, ins.end, ins.data, ins.format = t.at, t.at, skipBlank(l.text, l.pos), name.text
				return ins, true
			}
		}
	}
	return insert{}, false
}

func fromClause(settings, end int) int {
	if settings >= 0 {
		return settings
	}
	return end
}

// skipBlank skips what ClickHouse allows between the format's name and the rows: blanks and one
// line break.
func skipBlank(text string, pos int) int {
	for pos < len(text) && strings.IndexByte(" \t\f", text[pos]) >= 0 {
		pos++
	}
	if pos < len(text) && text[pos] == '\r' {
		pos++
	}
	if pos < len(text) && text[pos] == '\n' {
		pos++
	}
	return pos
}

// outputFormat returns the name in the FORMAT clause that ends a statement, and where the clause
// begins; "" and the text's end without one.
func outputFormat(text string) (name string, at int) {
	l := lexer{text: text}
	for t := l.next(); t.text != ""; t = l.next() {
		switch {
		case t.text == "(":
			l.skipParentheses()
		case t.is("FORMAT"):
			name, after := l.next(), l
			if end := after.next(); name.word() && (end.text == "" || end.text == ";" || end.is("SETTINGS")) {
				return name.text, t.at
			}
		}
	}
	return "", len(text)
}

// lexer cuts ClickHouse SQL into tokens, as far as finding clauses needs it.
type lexer struct {
	text string
	pos  int
}

// token is a word (of letters, digits, _ and $), a quoted string or name with its quotes, or any
// other single character. The token after the last one is empty.
type token struct {
	text string
	at   int
}

func (t token) is(keyword string) bool { return strings.EqualFold(t.text, keyword) }

func (t token) word() bool { return t.text != "" && isWordByte(t.text[0]) }

func isWordByte(c byte) bool {
	return c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (l *lexer) next() token {
	l.skipSpaceAndComments()
	at := l.pos
	if at == len(l.text) {
		return token{at: at}
	}
	switch c := l.text[at]; {
	case c == '\'' || c == '"' || c == '`':
		l.pos = quotedEnd(l.text, at)
	case c == '$' && l.heredoc():
	case isWordByte(c):
		for l.pos < len(l.text) && isWordByte(l.text[l.pos]) {
			l.pos++
		}
	default:
		l.pos++
	}
	return token{text: l.text[at:l.pos], at: at}
}

// skipParentheses skips to behind the parenthesis that closes the one that was read last.
func (l *lexer) skipParentheses() {
	for depth := 1; depth > 0; {
		switch l.next().text {
		case "(":
			depth++
		case ")":
			depth--
		case "":
			return
		}
	}
}

// selectFollows tells the subquery in (SELECT 1) from a column in (select, b).
func (l *lexer) selectFollows() bool {
	ahead := *l
	t := ahead.next()
	for t.text == "(" {
		t = ahead.next()
	}
	after := ahead.next().text
	return (t.is("SELECT") || t.is("WITH")) && after != "," && after != ")"
}

func (l *lexer) skipSpaceAndComments() {
	for l.pos < len(l.text) {
		rest := l.text[l.pos:]
		switch {
		case strings.IndexByte(" \t\r\n\f\v", rest[0]) >= 0:
			l.pos++
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "//"), strings.HasPrefix(rest, "# "), strings.HasPrefix(rest, "#!"):
			if line := strings.IndexByte(rest, '\n'); line >= 0 {
				l.pos += line + 1
			} else {
				l.pos = len(l.text)
			}
		case strings.HasPrefix(rest, "/*"):
			l.pos += 2
			for depth := 1; depth > 0 && l.pos < len(l.text); l.pos++ {
				switch rest := l.text[l.pos:]; {
				case strings.HasPrefix(rest, "/*"):
					depth++
					l.pos++
				case strings.HasPrefix(rest, "*/"):
					depth--
					l.pos++
				}
			}
		default:
			return
		}
	}
}

// heredoc skips $tag$ … $tag$ and reports whether there is one.
func (l *lexer) heredoc() bool {
	rest := l.text[l.pos+1:]
	n := 0
	for n < len(rest) && rest[n] != '$' && isWordByte(rest[n]) {
		n++
	}
	if n == len(rest) || rest[n] != '$' {
		return false
	}
	tag := l.text[l.pos : l.pos+n+2]
	end := strings.Index(l.text[l.pos+len(tag):], tag)
	if end < 0 {
		return false
	}
	l.pos += len(tag) + end + len(tag)
	return true
}

// quotedEnd returns where the string or name that begins at pos ends: behind its quote, which a
// backslash or doubling hides.
func quotedEnd(text string, pos int) int {
	quote := text[pos]
	for pos++; pos < len(text); pos++ {
		switch text[pos] {
		case '\\':
			pos++
		case quote:
			if pos+1 == len(text) || text[pos+1] != quote {
				return pos + 1
			}
			pos++
		}
	}
	return len(text)
}
