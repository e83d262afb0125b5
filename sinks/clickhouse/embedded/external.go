package embedded

import (
	"slices"
	"strings"
)

// external are the table functions, sources, backups and engines that reach files, programs
// or other hosts, in lower case; externalFamilies are beginnings of more of them.
var (
	external = words(`file filecluster filelog filesystem url urlcluster executable executablepool executable_pool mysql
		materializedmysql postgresql materializedpostgresql mongodb redis sqlite odbc jdbc gcs oss cosn azurequeue python
		clickhouse cassandra http kafka rabbitmq nats distributed externaldistributed embeddedrocksdb backup datalakecatalog
		disk catboostevaluate cluster clusterallreplicas loop ytsaurus arrowflight arrowstream`)
	externalFamilies = []string{"s3", "hdfs", "remote", "azureblobstorage", "iceberg", "deltalake", "hudi", "paimon"}
	// externalEngines are no functions of that name, or harmless ones.
	externalEngines = words("buffer alias overlay keepermap")
	// externalSettings name files.
	externalSettings = words("format_schema format_template_row format_template_resultset")
)

func words(text string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(text) {
		set[w] = true
	}
	return set
}

func isExternal(name string) bool {
	return external[name] || slices.ContainsFunc(externalFamilies, func(f string) bool { return strings.HasPrefix(name, f) })
}

// checkExternal refuses text of a user that reaches the file system or other hosts. What it
// is not sure to read as ClickHouse does, it refuses too. params are the values of
// {name:Type} placeholders.
func checkExternal(text string, params []string) error {
	l := lexer{text: text}
	var before, last token // the two tokens before t
	from := []bool{false}  // by depth of parentheses: whether tables are being listed
	for t := l.next(); t.text != ""; before, last, t = last, t, l.next() {
		ahead := l
		after := ahead.next()
		name := t.name()
		switch {
		case t.text[0] >= 0x80:
			return refused("a character outside ASCII that is not in quotes") // ClickHouse takes “ for a quote, and more
		case (last.is("x") || last.is("b")) && t.text[0] == '\'' && last.at+1 == t.at:
			if strings.Trim(t.text, "'0123456789abcdefABCDEF") != "" || len(t.text) < 2 || strings.Contains(t.text[1:len(t.text)-1], "'") {
				return refused("this string of digits: %.40s", t.text)
			}
		case name != "" && after.text == "(" && (isExternal(name) || strings.Contains(name, `\`)):
			return refused("%.40s(", t.text)
		case name != "" && (isExternal(name) || externalEngines[name]) && (last.is("ENGINE") || last.text == "=" && before.is("ENGINE")):
			return refused("ENGINE = %.40s", t.text)
		case externalSettings[name]:
			return refused("setting %s", name)
		case last.is("INTO") && t.is("OUTFILE"), last.is("FROM") && t.is("INFILE"),
			t.is("FUNCTION") && (last.is("INTO") || last.is("INSERT") || last.is("TABLE") && (before.is("INTO") || before.is("INSERT"))):
			return refused("%s %s", last.text, t.text)
		case t.is("Identifier") && last.text == ":" && slices.ContainsFunc(params, isPath):
			return refused("a path for an Identifier")
		case t.quoted() && isPath(t.text) && namesTable(before, last, t, from[len(from)-1]):
			return refused("%.80s as a table", t.text) // the database default takes names for files
		}
		switch {
		case t.text == "(" || t.text == "[":
			from = append(from, false)
		case (t.text == ")" || t.text == "]") && len(from) > 1:
			from = from[:len(from)-1]
		case t.is("FROM") || t.is("JOIN"):
			from[len(from)-1] = true
		case t.is("SELECT") || t.is("WHERE") || t.is("PREWHERE") || t.is("ON") || t.is("GROUP") || t.is("ORDER") ||
			t.is("HAVING") || t.is("LIMIT") || t.is("SETTINGS") || t.text == ";":
			from[len(from)-1] = false
		}
	}
	return nil
}

// namesTable tells whether the quoted token t may be a table, after two others and where
// tables are being listed or not.
func namesTable(before, last, t token, tables bool) bool {
	switch {
	case last.text == ".":
		return before.name() == "default" || before.text == "}" || strings.Contains(before.name(), `\`)
	case last.is("FROM") || last.is("JOIN") || last.is("TABLE") || last.is("DESCRIBE") || last.is("DESC") || last.is("EXISTS") || last.is("INTO"):
		return true
	case last.is("IN"):
		return t.text[0] != '\''
	}
	return tables && last.text == ","
}

func isPath(name string) bool { return strings.ContainsAny(name, `/\.`) }

func (t token) quoted() bool { return t.text != "" && strings.IndexByte("'\"`", t.text[0]) >= 0 }

// name returns a word or quoted name in lower case; it leaves a backslash as it is.
func (t token) name() string {
	switch {
	case t.text == "" || t.text[0] == '\'':
		return ""
	case t.quoted():
		return strings.ToLower(strings.Trim(t.text, t.text[:1]))
	case t.word():
		return strings.ToLower(t.text)
	}
	return ""
}

func refused(format string, args ...any) error {
	return newException(codeAccessDenied, "refused, since queries here must not reach files or other hosts (Config.AllowExternal): "+format, args...)
}
