package spec

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/devside/devside/supervisor/status"
)

// Codes of issues.
const (
	codeInvalid = string(status.ConfigInvalid)
	codeClash   = string(status.PortClash)
)

// value is one value with its place in the file and in Keys.
type value struct {
	*node
	name    string // the key, as written
	path    string // "servers.api.port"
	pattern string // "servers.*.port"
	key     Range  // the key, or for a list entry the entry
}

// at is where a problem of the value is shown.
func (v value) at() Range {
	if v.rng.IsZero() {
		return v.key
	}
	return v.rng
}

// reader walks the tree of one devside.yaml into a Project. Every method
// reports what is wrong and goes on with what can be used.
type reader struct {
	src    *Source
	issues []Issue
	fsys   fs.FS // nil: nothing is looked up

	count   int     // of the servers before the one that is read
	guesses []guess // ports of servers that name a preset and no port
}

func (r *reader) issue(i Issue) *Issue {
	if i.Code == "" {
		i.Code = codeInvalid
	}
	if i.Severity == "" {
		i.Severity = Error
	}
	i.File = r.src.Path
	r.issues = append(r.issues, i)
	return &r.issues[len(r.issues)-1]
}

// bad reports a value.
func (r *reader) bad(v value, hint, format string, args ...any) *Issue {
	return r.issue(Issue{Range: v.at(), Key: v.path, Hint: hint, Message: fmt.Sprintf(format, args...)})
}

// warn reports a value that is used all the same.
func (r *reader) warn(v value, hint, format string, args ...any) {
	r.bad(v, hint, format, args...).Severity = Warning
}

// wrong reports a value of a wrong form.
func (r *reader) wrong(v value, expected, hint string) {
	r.bad(v, hint, "%s must be %s, not %s", v.name, expected, v.kind)
}

func (r *reader) note(v value) {
	if _, ok := r.src.Keys[v.path]; ok {
		return // an alias or a merge brought it here a second time
	}
	r.src.Keys[v.path] = v.key
	if !v.rng.IsZero() {
		r.src.Values[v.path] = v.rng
	}
}

// object returns the entries of a map, by the keys that Keys knows below it.
// Unknown and empty ones are reported and left out; a map whose keys are names
// of the user's choice is returned whole.
func (r *reader) object(v value) []value {
	if v.kind != kindMap {
		r.wrong(v, "a map of keys and values", r.mapHint(v))
		return nil
	}
	known := KeysBelow(v.pattern)
	_, free := LookupKey(joinPath(v.pattern, "*"))
	var out []value
	for _, f := range v.fields {
		e := value{node: f.val, name: f.name, path: joinPath(v.path, f.name), key: f.key}
		if free {
			e.pattern = joinPath(v.pattern, "*")
		} else {
			e.pattern = joinPath(v.pattern, f.name)
		}
		k, ok := LookupKey(e.pattern)
		if !ok {
			r.unknown(e, v, known)
			continue
		}
		r.note(e)
		if e.kind == kindNull && !empty(k) {
			hint := "give it a value, or remove the line"
			switch e.pattern {
			case "servers.*":
				hint = "add `command:` below it"
			case "servers.*.env.*":
				hint = `write "" for an empty value`
			}
			r.bad(e, hint, "%s has no value", e.name)
			continue
		}
		if e.kind == kindNull && !hasForm(k, FormNothing) {
			continue // `env:` with every entry commented out
		}
		out = append(out, e)
	}
	return out
}

// mapHint names the entry that the writer may have had in mind.
func (r *reader) mapHint(v value) string {
	known := KeysBelow(v.pattern)
	if len(known) == 0 {
		return "write `name: value` lines below it"
	}
	for _, k := range slices.Backward(known) { // of memory's limits, kill is the limit
		if v.scalar() && fits(k, v.text) {
			return fmt.Sprintf("write %s: {%s: %s}", v.name, k.Name(), v.text)
		}
	}
	return fmt.Sprintf("write %s: {%s: …}", v.name, known[0].Name())
}

// fits reports whether the text alone tells that it is a value of the key.
func fits(k Key, text string) bool {
	_, notDuration, _ := parseDuration(text)
	_, notSize, _ := parseSize(text)
	return slices.Contains(k.Values, text) ||
		hasForm(k, FormDuration) && notDuration == "" ||
		hasForm(k, FormSize) && notSize == "" ||
		hasForm(k, FormBoolean) && (text == "true" || text == "false")
}

// empty reports whether the key may stand without a value: a map or a list
// without entries is what such a line means.
func empty(k Key) bool {
	if hasForm(k, FormNothing) {
		return true
	}
	onlyMany := true
	for _, f := range k.Forms {
		onlyMany = onlyMany && (f == FormMap || f == FormList)
	}
	many := hasForm(k, FormList) && !k.Required && k.Path != "servers.*.port"
	return (onlyMany || many) && !strings.HasSuffix(k.Path, ".*")
}

func hasForm(k Key, f Form) bool { return slices.Contains(k.Forms, f) }

func (r *reader) unknown(e, parent value, known []Key) {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.Name()
	}
	is := r.issue(Issue{Range: e.key, Key: e.path, Message: fmt.Sprintf("unknown key %s", quote(e.name)),
		Hint: "known here: " + strings.Join(names, ", ")})
	is.Suggestion = nearestKey(e.name, known)
	if is.Suggestion != "" {
		is.Message += fmt.Sprintf(", did you mean %q?", is.Suggestion)
		return
	}
	// A known key that slipped to the wrong level is the next likely mistake.
	for _, k := range Keys {
		if k.Name() != e.name || strings.HasPrefix(k.Path, "dependencies") {
			continue
		}
		up := strings.TrimSuffix(k.Path, "."+e.name)
		if strings.HasPrefix(parent.pattern, up+".") || parent.pattern == "" && up == "servers.*" {
			where := "at the top of the file"
			if up != e.name && up != k.Path {
				where = "below " + strings.ReplaceAll(up, "*", "<name>")
			}
			is.Message += ", it belongs " + where
			return
		}
	}
}

func joinPath(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

// list returns the entries of a list.
func (r *reader) list(v value) []value {
	out := make([]value, 0, len(v.items))
	for i, item := range v.items {
		e := value{node: item, name: v.name, path: fmt.Sprintf("%s[%d]", v.path, i), pattern: v.pattern, key: item.rng}
		if e.kind == kindNull {
			e.key = v.at()
			r.bad(e, "fill it in, or remove it", "an entry of %s has no value", v.name)
			continue
		}
		r.note(e)
		out = append(out, e)
	}
	return out
}

// many returns the entries of a list, or the value itself when one stands alone.
func (r *reader) many(v value) []value {
	if v.kind == kindList {
		return r.list(v)
	}
	return []value{v}
}

// texts reads a list of texts, or one text.
func (r *reader) texts(v value) []value {
	if v.kind == kindMap {
		r.wrong(v, "a list", fmt.Sprintf("write %s: [a, b]", v.name))
		return nil
	}
	var out []value
	seen := map[string]bool{}
	for _, e := range r.many(v) {
		if !e.scalar() {
			r.wrong(e, "a list of texts", fmt.Sprintf("write %s: [a, b]", v.name))
			continue
		}
		if e.text == "" {
			r.bad(e, "fill it in, or remove it", "an entry of %s is empty", v.name)
			continue
		}
		if seen[e.text] {
			r.warn(e, "remove one of the two", "%s stands twice in %s", quote(e.text), v.name)
			continue
		}
		seen[e.text] = true
		out = append(out, e)
	}
	return out
}

// text reads one scalar as it is written.
func (r *reader) text(v value) (string, bool) {
	if !v.scalar() {
		r.wrong(v, "text", "write "+v.name+": text")
		return "", false
	}
	if strings.ContainsRune(v.text, 0) {
		r.bad(v, "remove it", "%s holds a NUL character", v.name)
		return "", false
	}
	return v.text, true
}

// choice reads one of the values that Keys allows.
func (r *reader) choice(v value) (string, bool) {
	k, _ := LookupKey(v.pattern)
	text, ok := r.text(v)
	if !ok {
		return "", false
	}
	for _, allowed := range k.Values {
		if text == allowed {
			return text, true
		}
	}
	is := r.bad(v, "write one of "+strings.Join(k.Values, ", "), "%s can't be %s", v.name, quote(text))
	is.Suggestion = nearest(text, k.Values)
	for _, allowed := range k.Values {
		if is.Suggestion == "" && len(text) > 2 && strings.EqualFold("SIG"+text, allowed) {
			is.Suggestion = allowed
		}
	}
	if is.Suggestion != "" {
		is.Message += fmt.Sprintf(", did you mean %q?", is.Suggestion)
	}
	return "", false
}

// integer reads a whole number in decimal digits, quoted or not: quotes around
// a port are a habit from other formats, where they matter.
func (r *reader) integer(v value, least, most int) (int, bool) {
	if !v.scalar() {
		r.wrong(v, "a whole number", fmt.Sprintf("write a number from %d to %d", least, most))
		return 0, false
	}
	n, err := strconv.Atoi(v.text)
	if err != nil || strconv.Itoa(n) != v.text {
		r.bad(v, fmt.Sprintf("write a number from %d to %d, in plain digits", least, most), "%s is not a whole number", quote(v.text))
		return 0, false
	}
	if n < least || n > most {
		r.bad(v, fmt.Sprintf("choose from %d to %d", least, most), "%s can't be %d", v.name, n)
		return 0, false
	}
	return n, true
}

func (r *reader) boolean(v value) (bool, bool) {
	if v.kind == kindBoolean {
		return strings.EqualFold(v.text, "true"), true
	}
	if v.kind == kindText && (v.text == "true" || v.text == "false") {
		return v.text == "true", true
	}
	r.wrong(v, "true or false", "write "+v.name+": true, or false")
	return false, false
}

func (r *reader) duration(v value, least, most time.Duration) (time.Duration, bool) {
	if !v.scalar() {
		r.wrong(v, "a duration", "write it like 10s, 1m30s or 150ms")
		return 0, false
	}
	d, problem, hint := parseDuration(v.text)
	if problem != "" {
		r.bad(v, hint, "%s", problem)
		return 0, false
	}
	if d < least || d > most {
		r.bad(v, fmt.Sprintf("choose from %s to %s", durationText(least), durationText(most)), "%s can't be %s", v.name, v.text)
		return 0, false
	}
	return d, true
}

// percentage reads "1%" or "0.5%" as a part of 1.
func (r *reader) percentage(v value, least float64) (float64, bool) {
	const hint = "write it like 1% or 2.5%; 100% allows any"
	if !v.scalar() {
		r.wrong(v, "a percentage", hint)
		return 0, false
	}
	number, ok := strings.CutSuffix(v.text, "%")
	f, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !bareNumber.MatchString(number) {
		r.bad(v, hint, "%s is not a percentage", quote(v.text))
		return 0, false
	}
	if f /= 100; f < least || f > 1 {
		r.bad(v, fmt.Sprintf("choose from %v%% to 100%%", 100*least), "%s can't be %s", v.name, v.text)
		return 0, false
	}
	return f, true
}

func (r *reader) size(v value) (int64, bool) {
	if !v.scalar() {
		r.wrong(v, "a size", "write it like 512MB or 1.5GB")
		return 0, false
	}
	n, problem, hint := parseSize(v.text)
	if problem != "" {
		r.bad(v, hint, "%s", problem)
		return 0, false
	}
	return n, true
}
