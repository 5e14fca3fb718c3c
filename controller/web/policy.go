package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// policyOf is the Content-Security-Policy (https://www.w3.org/TR/CSP3/) of a page that is
// made of these parts: its own scripts and styles, known by their hashes, pictures that it
// draws itself, and nothing else. Nothing it could load, send or be sent to is allowed.
func policyOf(parts ...[]byte) (string, error) {
	var scripts, styles [][]byte
	for _, part := range parts {
		found, err := embedded(part)
		if err != nil {
			return "", err
		}
		scripts, styles = append(scripts, found["script"]...), append(styles, found["style"]...)
	}
	return "default-src 'none'; script-src " + hashes(scripts) + "; style-src " + hashes(styles) +
		"; img-src data: blob:; base-uri 'none'; form-action 'none'", nil
}

// hashes are the sources of a policy that allow just these texts.
func hashes(texts [][]byte) string {
	var sources []string
	for _, text := range texts {
		sum := sha256.Sum256(text)
		source := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		if !slices.Contains(sources, source) {
			sources = append(sources, source)
		}
	}
	if len(sources) == 0 {
		return "'none'"
	}
	return strings.Join(sources, " ")
}

// embedded are the texts of the script and style elements of a page of our own making, by
// the element's name. One whose text comes from elsewhere is an error, and so is a carriage
// return, which a browser takes away before it hashes.
func embedded(page []byte) (map[string][][]byte, error) {
	if bytes.IndexByte(page, '\r') >= 0 {
		return nil, errors.New("it has a carriage return")
	}
	found := make(map[string][][]byte)
	for rest := page; ; {
		name, after := nextElement(rest)
		if name == "" {
			return found, nil
		}
		attributes, body, ok := bytes.Cut(after, []byte(">"))
		if !ok {
			return nil, fmt.Errorf("a %s element does not begin", name)
		}
		if bytes.Contains(attributes, []byte("src=")) {
			return nil, fmt.Errorf("a %s is not in the page itself", name)
		}
		text, end, ok := bytes.Cut(body, []byte("</"+name+">"))
		if !ok {
			return nil, fmt.Errorf("a %s element does not end", name)
		}
		found[name] = append(found[name], text)
		rest = end
	}
}

// nextElement is the first script or style element of a text, and what follows its name.
func nextElement(text []byte) (name string, after []byte) {
	first := len(text)
	for _, candidate := range []string{"script", "style"} {
		if i := bytes.Index(text, []byte("<"+candidate)); i >= 0 && i < first {
			name, first = candidate, i
		}
	}
	if name == "" {
		return "", nil
	}
	return name, text[first+1+len(name):]
}
