;;; emacs.el --- What eglot.el and lsp-mode.el have in common  -*- lexical-binding: t -*-

;; For `emacs --batch -Q -l emacs.el -l eglot.el'.  What Debian has as packages is
;; looked for where they put it, since -Q leaves that out.

;;; Code:

(dolist (dir (file-expand-wildcards "/usr/share/emacs/site-lisp/elpa/*" t))
  (add-to-list 'load-path dir))
(require 'cl-lib)
(require 'json)

(defvar test-root (getenv "DEVSIDE_ROOT"))
(defvar test-server (list (getenv "DEVSIDE_BINARY") "--stdio" "--allow-root"))
(defvar test-state nil "State of the server, of the last devside/didChangeStatus.")

(define-derived-mode test-mode prog-mode "devside")
(add-to-list 'auto-mode-alist '("/devside\\.yaml\\'" . test-mode))

(defun test-say (step &rest more)
  "Tell the test about STEP, with MORE as a plist."
  (send-string-to-terminal (concat (json-encode (append (list :step step) more)) "\n")))

(defun test-await (what look)
  "Wait until LOOK returns non-nil, and return it.  WHAT is said after 30 s."
  (let ((deadline (+ (float-time) 30)) found)
    (while (not (setq found (funcall look)))
      (when (> (float-time) deadline)
        (error "Still waiting for %s" what))
      (accept-process-output nil 0.02))
    found))

(defun test-go-on ()
  "Say that the server is ready, and wait until the test has looked at it."
  (test-say "ready")
  (test-await "the test" (lambda () (file-exists-p (getenv "DEVSIDE_GO_ON")))))

(defun test-pick (_prompt collection &rest _)
  "Stand in for `completing-read': pick from COLLECTION what stops a process."
  (let ((title (cl-find-if (lambda (title) (string-prefix-p "Stop " title))
                           (mapcar #'car collection))))
    (unless title
      (error "No action stops who has the port: %S" collection))
    (test-say "action" :title title)
    title))

(defun test-run (body)
  "Call BODY in the buffer of devside.yaml, and end Emacs."
  (condition-case err
      (progn
        (find-file (expand-file-name "devside.yaml" test-root))
        (cl-letf (((symbol-function 'completing-read) #'test-pick)
                  (last-nonmenu-event 'none)) ; not by the mouse: no pop-up
          (funcall body)))
    (error
     (message "%s" (error-message-string err))
     (kill-emacs 1)))
  (kill-emacs 0))

;;; emacs.el ends here
