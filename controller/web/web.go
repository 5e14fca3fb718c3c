// Package web makes a run one file of HTML that a browser opens without a server: the page
// of page/, built once and embedded here, with the data of the runs packed into it, and
// pictures of single repetitions as SVG.
//
// Everything here is deterministic: the same timelines give the same bytes. Nothing here
// trusts what a run says: names, texts and payloads come from strangers, and reach the file
// only as base64 or escaped, under a policy that lets the file's own script run and nothing
// else.
package web
