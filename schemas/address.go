package schemas

import (
	"encoding/json"
	"html"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// PublicAddress returns what may be shown of an address: scheme, host and port. An ellipsis
// stands for the rest, each part of which can be a secret: the user, the path (webhooks have
// their token there), the query. Of what is no URL, such as host:port of a broker, only a user
// in front of an @ is left out.
func PublicAddress(address string) string {
	if !strings.Contains(address, "://") {
		if i := strings.LastIndexByte(address, '@'); i >= 0 {
			return "…@" + address[i+1:]
		}
		if strings.ContainsAny(address, "/?#") {
			return "…"
		}
		return address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "…"
	}
	public := u.Scheme + "://"
	if u.User != nil {
		public += "…@"
	}
	public += u.Host
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		public += "/…"
	}
	return public
}

// WithoutSecrets returns err with a text in which nothing of the addresses but their public
// part stands, and none of the other secrets, such as the values of headers. errors.Is and As
// see what they saw. It is for errors of clients that are given an address: they and the
// servers at its end repeat it, or parts of it.
func WithoutSecrets(err error, addresses, secrets []string) error {
	if err == nil {
		return nil
	}
	was := err.Error()
	if text := HideSecrets(was, addresses, secrets); text != was {
		return &publicError{text, err}
	}
	return err
}

// publicError is an error with another text.
type publicError struct {
	text string
	err  error
}

func (e *publicError) Error() string { return e.text }

func (e *publicError) Unwrap() error { return e.err }

// minSecret is the length from which a part of an address is taken for a secret: shorter ones
// stand in many words, and can be guessed.
const minSecret = 4

// HideSecrets does with a text what WithoutSecrets does with an error's.
func HideSecrets(text string, addresses, secrets []string) string {
	return hideAll(text, hiddenOf(addresses, secrets))
}

// Excerpt is HideSecrets of the first most bytes of what somebody else has said, of which text
// may be the start alone: at its end a part of a secret is hidden, too.
func Excerpt(text string, most int, addresses, secrets []string) string {
	hidden := hiddenOf(addresses, secrets)
	text = hideAll(text, hidden)
	cut := len(text)
	for secret := range hidden {
		for n := min(len(secret), len(text)); n >= minSecret; n-- {
			if strings.HasSuffix(text, secret[:n]) {
				cut = min(cut, len(text)-n)
				break
			}
		}
	}
	if cut < len(text) {
		text = text[:cut] + "…"
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// hiddenOf returns what must not be shown, with what is shown instead.
func hiddenOf(addresses, secrets []string) map[string]string {
	hidden := map[string]string{}
	hide := func(secret, public string) {
		if len(secret) < minSecret || secret == public {
			return
		}
		quoted := strconv.Quote(secret)
		inJSON, _ := json.Marshal(secret) // of a text, it cannot fail
		// As it is, and as it stands in an answer, or in an error that quotes one.
		for _, form := range []string{secret, quoted[1 : len(quoted)-1], string(inJSON[1 : len(inJSON)-1]), html.EscapeString(secret)} {
			hidden[form] = public
		}
	}
	for _, s := range secrets {
		hide(s, "…")
		if _, credentials, ok := strings.Cut(s, " "); ok { // a scheme stands in front, as in Bearer
			hide(strings.TrimSpace(credentials), "…")
		}
	}
	for _, address := range addresses {
		public := PublicAddress(address)
		hide(address, public)
		u, err := url.Parse(address)
		if err != nil {
			continue
		}
		hide(u.String(), public)
		hide(u.Redacted(), public)
		if password, ok := u.User.Password(); ok {
			hide(password, "…")
		}
		if u.User != nil {
			hide(u.User.String(), "…")
			hide(u.User.Username(), "…")
		}
		hide(u.RequestURI(), "/…")
		hide(u.RawQuery, "…")
		hide(u.Fragment, "…")
		for _, path := range []string{u.Path, u.EscapedPath()} {
			hide(path, "/…")
			for part := range strings.SplitSeq(path, "/") {
				if len(part) >= 2*minSecret { // shorter ones are words
					hide(part, "…")
				}
			}
		}
		for _, values := range u.Query() {
			for _, v := range values {
				hide(v, "…")
				hide(url.QueryEscape(v), "…")
			}
		}
	}
	return hidden
}

func hideAll(text string, hidden map[string]string) string {
	// The longest first: what is shorter may be a part of it.
	for _, secret := range slices.SortedFunc(maps.Keys(hidden), func(a, b string) int { return len(b) - len(a) }) {
		text = strings.ReplaceAll(text, secret, hidden[secret])
	}
	return text
}
