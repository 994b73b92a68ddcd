package spec

import (
	"errors"
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxCommandBytes bounds a command's text; the longest scripts found in the
// package.json files of public projects have some 2 KiB.
const maxCommandBytes = 8 << 10

// splitWords splits a command into words as a POSIX shell would, and refuses
// whatever a shell would do beyond that, by name. Quotes are resolved. $NAME
// and ${NAME} stay for Expand; a dollar that a shell would not expand is
// doubled, so that Expand leaves it alone, too. shell is the hint for who wants
// a shell all the same.
func splitWords(text, shell string) (words []string, problem, hint string) {
	if strings.TrimSpace(text) == "" {
		return nil, "the command is empty", "write the command, such as: npm run dev"
	}
	if len(text) > maxCommandBytes {
		return nil, "the command has more than 8 KiB", "put it into a script and name that"
	}
	if strings.ContainsRune(text, 0) {
		return nil, "the command holds a NUL character", "remove it"
	}
	// The bash variant is parsed, not the POSIX one, because what it knows more
	// is what must be refused by name.
	file, err := parseShell(text)
	if err != nil {
		var pe syntax.ParseError
		if errors.As(err, &pe) {
			return nil, "the command can't be split into words: " + pe.Text, "check its quotes, write it as a list, or " + shell
		}
		return nil, "the command can't be split into words", "check its quotes, write it as a list, or " + shell
	}
	found := ""
	comment := len(file.Last) > 0
	for _, st := range file.Stmts {
		comment = comment || len(st.Comments) > 0
	}
	var call *syntax.CallExpr
	switch {
	case len(file.Stmts) == 0:
		return nil, "the command is empty", "write the command, such as: npm run dev"
	case len(file.Stmts) > 1 && file.Stmts[0].Semicolon.IsValid() && !file.Stmts[0].Background:
		found = "a semicolon (;)"
	case len(file.Stmts) > 1 && !file.Stmts[0].Background:
		found = "several lines"
	default:
		call, found = plainCall(file.Stmts[0])
	}
	if found == "" && comment {
		found = "a comment (#)"
	}
	if found == assignment {
		return nil, "the command begins with " + assignment, "put the variable below `env:`, or " + shell
	}
	if found != "" {
		return nil, "the command holds " + found + ", which only a shell understands", shell
	}
	for _, w := range call.Args {
		word, found := plainWord(w)
		if found != "" {
			return nil, "the command holds " + found + ", which only a shell understands", shell + ", or put it in single quotes"
		}
		words = append(words, word)
	}
	if words[0] == "" {
		return nil, "the command's first word is empty", "begin with the program's name"
	}
	return words, "", ""
}

// parseShell runs the third-party parser; a panic of it is one more syntax
// error, because the text may come from anyone.
func parseShell(text string) (file *syntax.File, err error) {
	defer func() {
		if recover() != nil {
			file, err = nil, errors.New("parse command: the parser gave up")
		}
	}()
	return syntax.NewParser(syntax.Variant(syntax.LangBash), syntax.KeepComments(true)).Parse(strings.NewReader(text), "")
}

const assignment = "an assignment (NAME=value)"

// plainCall returns the one call that a statement is, or what it is instead.
func plainCall(st *syntax.Stmt) (call *syntax.CallExpr, found string) {
	switch {
	case st.Background:
		return nil, "a background sign (&)"
	case st.Coprocess:
		return nil, "a coprocess (|&)"
	case st.Negated:
		return nil, "a negation (!)"
	case len(st.Redirs) > 0:
		return nil, fmt.Sprintf("a redirect (%s)", st.Redirs[0].Op)
	case st.Semicolon.IsValid():
		return nil, "a semicolon (;)"
	}
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		if len(c.Assigns) > 0 {
			return nil, assignment
		}
		return c, ""
	case *syntax.BinaryCmd:
		if c.Op == syntax.Pipe || c.Op == syntax.PipeAll {
			return nil, fmt.Sprintf("a pipe (%s)", c.Op)
		}
		return nil, c.Op.String()
	case *syntax.Subshell, *syntax.Block:
		return nil, "a group of commands"
	case *syntax.DeclClause:
		return nil, fmt.Sprintf("the shell's own word %q", c.Variant.Value)
	case *syntax.ArithmCmd:
		return nil, "arithmetic"
	case *syntax.FuncDecl:
		return nil, "a function"
	}
	return nil, "a shell statement (if, for, while, case, [[ and the like)"
}

// wordText builds one word. It knows where a bare $NAME ended, so that what is
// glued to it in the source by a quote does not become part of the name.
type wordText struct {
	text string
	name string // of a $NAME that ends the text
}

func (w *wordText) lit(s string) {
	if s == "" {
		return
	}
	if w.name != "" && isName("_"+s[:1]) {
		w.text = strings.TrimSuffix(w.text, "$"+w.name) + "${" + w.name + "}"
	}
	w.text, w.name = w.text+s, ""
}

// plainWord resolves the quotes of one word, or says what it holds that is not plain.
func plainWord(w *syntax.Word) (word, found string) {
	var b wordText
	for i, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			if i == 0 && strings.HasPrefix(p.Value, "~") {
				return "", "a home directory (~)"
			}
			if found := b.unquoted(p.Value); found != "" {
				return "", found
			}
		case *syntax.SglQuoted:
			if p.Dollar {
				return "", "$'…'"
			}
			b.lit(strings.ReplaceAll(p.Value, "$", "$$"))
		case *syntax.DblQuoted:
			if p.Dollar {
				return "", `$"…"`
			}
			for _, inner := range p.Parts {
				if lit, ok := inner.(*syntax.Lit); ok {
					b.doubleQuoted(lit.Value)
				} else if found := b.parameter(inner); found != "" {
					return "", found
				}
			}
		default:
			if found := b.parameter(part); found != "" {
				return "", found
			}
		}
	}
	return b.text, ""
}

// unquoted writes a literal with its backslashes resolved.
func (w *wordText) unquoted(s string) (found string) {
	var b strings.Builder
	escaped := false
	for i, c := range s {
		switch {
		case escaped:
			escaped = false
			switch c {
			case '\n': // a continued line
			case '$':
				b.WriteString("$$")
			default:
				b.WriteRune(c)
			}
		case c == '\\':
			escaped = true
		case c == '*' || c == '?' || c == '[' && strings.ContainsRune(s[i:], ']'):
			return fmt.Sprintf("a glob (%c)", c)
		case c == '{' && braces(s[i:]):
			return "a brace expansion ({…})"
		case c == '$':
			b.WriteString("$$")
		default:
			b.WriteRune(c)
		}
	}
	if escaped {
		b.WriteByte('\\')
	}
	w.lit(b.String())
	return ""
}

// braces reports whether a shell would expand what begins with { here.
func braces(s string) bool {
	end := strings.IndexByte(s, '}')
	return end > 0 && (strings.Contains(s[:end], ",") || strings.Contains(s[:end], ".."))
}

// doubleQuoted writes the text between double quotes: a backslash escapes only
// what is special there.
func (w *wordText) doubleQuoted(s string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) && strings.IndexByte("\\\"$`\n", s[i+1]) >= 0 {
			i++
			if c = s[i]; c == '\n' {
				continue
			}
		}
		if c == '$' {
			b.WriteByte('$')
		}
		b.WriteByte(c)
	}
	w.lit(b.String())
}

// parameter writes $NAME and ${NAME} as they stand, and names everything else.
func (w *wordText) parameter(part syntax.WordPart) (found string) {
	switch p := part.(type) {
	case *syntax.ParamExp:
		if p.Param == nil {
			return "a parameter expansion (${…})"
		}
		name := p.Param.Value
		// Whatever the expansion does beyond naming a variable makes it longer.
		width := int(p.End().Offset()) - int(p.Pos().Offset())
		switch {
		case p.Short && width == len("$")+len(name):
		case width == len("${}")+len(name):
		default:
			return "a parameter expansion (${…})"
		}
		if !isName(name) {
			return "the special parameter $" + name
		}
		if p.Short {
			w.lit("$" + name)
			w.name = name
		} else {
			w.lit("${" + name + "}")
		}
		return ""
	case *syntax.CmdSubst:
		if p.Backquotes {
			return "a command in backquotes"
		}
		return "a command substitution $(…)"
	case *syntax.ArithmExp:
		return "arithmetic $((…))"
	case *syntax.ProcSubst:
		return fmt.Sprintf("a process substitution %s…)", p.Op)
	case *syntax.ExtGlob:
		return fmt.Sprintf("a glob (%s…))", p.Op)
	}
	return "shell syntax"
}

// isName reports whether s can be the name of an environment variable.
func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// Expand replaces $NAME and ${NAME} in each word of argv, by getenv's answer.
// A value never becomes several words, whatever it holds; an unknown name
// becomes nothing. $$ is one dollar, and a dollar before anything else stands
// for itself. The text that a shell is given with -c is left as it is: the
// shell expands it by the same environment.
func Expand(argv []string, getenv func(string) string) []string {
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	out := make([]string, len(argv))
	keep := shellText(argv)
	for i, word := range argv {
		if i == keep {
			out[i] = word
			continue
		}
		out[i] = expandWord(word, getenv)
	}
	return out
}

// shellText is the index of the text in [bash -c TEXT], or -1.
func shellText(argv []string) int {
	if len(argv) >= 3 && argv[1] == "-c" && isShell(argv[0]) {
		return 2
	}
	return -1
}

func isShell(program string) bool {
	switch program[strings.LastIndexByte(program, '/')+1:] {
	case "sh", "bash", "zsh", "dash", "ksh":
		return true
	}
	return false
}

func expandWord(word string, getenv func(string) string) string {
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		if word[i] != '$' || i+1 == len(word) {
			b.WriteByte(word[i])
			continue
		}
		rest := word[i+1:]
		if rest[0] == '$' {
			b.WriteByte('$')
			i++
			continue
		}
		if rest[0] == '{' {
			if end := strings.IndexByte(rest, '}'); end > 0 && isName(rest[1:end]) {
				b.WriteString(getenv(rest[1:end]))
				i += end + 1
				continue
			}
		}
		n := 0
		for n < len(rest) && isName(rest[:n+1]) {
			n++
		}
		if n == 0 {
			b.WriteByte('$')
			continue
		}
		b.WriteString(getenv(rest[:n]))
		i += n
	}
	return b.String()
}
