;;; emacs.el --- Emacs's part of TestE2EEmacs  -*- lexical-binding: t -*-

;; For `emacs --batch -Q -l emacs.el'.  It works with eglot 1.9, which Debian has
;; as a package for Emacs 28, and with the one that is in Emacs since 29.

;;; Code:

(unless (locate-library "eglot")
  (dolist (dir (file-expand-wildcards "/usr/share/emacs/site-lisp/elpa/*" t))
    (add-to-list 'load-path dir)))
(require 'cl-lib)
(require 'json)
(require 'eglot)

(defvar test-root (getenv "DEVSIDE_ROOT"))
(defvar test-go-on (getenv "DEVSIDE_GO_ON"))
(defvar test-state nil "State of the server, of the last devside/didChangeStatus.")

(define-derived-mode test-mode prog-mode "devside")
(add-to-list 'auto-mode-alist '("/devside\\.yaml\\'" . test-mode))
(add-to-list 'eglot-server-programs
             `(test-mode . (,(getenv "DEVSIDE_BINARY") "--stdio" "--allow-root"
                            :initializationOptions (:trusted t))))

(cl-defmethod eglot-handle-notification
  (_server (_method (eql devside/didChangeStatus)) &key servers &allow-other-keys)
  (setq test-state (plist-get (aref servers 0) :state)))

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

(defun test-run ()
  "Do what `mendsAPort' describes."
  (find-file (expand-file-name "devside.yaml" test-root))
  (let ((eglot-sync-connect t)
        (last-nonmenu-event 'none))
    (call-interactively #'eglot)
    (let* ((server (test-await "the server" #'eglot-current-server))
           (answer (jsonrpc-request server :workspace/executeCommand
                                    '(:command "devside.server.start" :arguments [(:servers ["api"])])
                                    :timeout 30))
           (result (aref (plist-get answer :servers) 0))
           diagnostic)
      (unless (equal (plist-get result :state) "blocked")
        (error "The start of a server whose port is taken: %S" answer))
      (setq diagnostic (test-await "a diagnostic"
                                   (lambda ()
                                     (flymake-start)
                                     (car (flymake-diagnostics)))))
      (test-say "diagnostic"
                :code (plist-get (cdr (assoc 'eglot-lsp-diag (flymake-diagnostic-data diagnostic))) :code)
                :message (flymake-diagnostic-text diagnostic)
                :line (1- (line-number-at-pos (flymake-diagnostic-beg diagnostic))))
      (goto-char (flymake-diagnostic-beg diagnostic))
      ;; What a person would pick from the menu.
      (cl-letf (((symbol-function 'completing-read)
                 (lambda (_prompt collection &rest _)
                   (let ((title (cl-find-if (lambda (title) (string-prefix-p "Stop " title))
                                            (mapcar #'car collection))))
                     (unless title
                       (error "No action stops who has the port: %S" collection))
                     (test-say "action" :title title)
                     title))))
        (call-interactively #'eglot-code-actions))
      (test-await "the server to be ready, without a diagnostic"
                  (lambda ()
                    (flymake-start)
                    (and (equal test-state "ready") (null (flymake-diagnostics)))))
      (test-say "ready")
      (test-await "the test" (lambda () (file-exists-p test-go-on)))
      (when (equal (getenv "DEVSIDE_END") "shutdown")
        (eglot-shutdown server)))))

(condition-case err
    (test-run)
  (error
   (message "%s" (error-message-string err))
   (kill-emacs 1)))
(kill-emacs 0)

;;; emacs.el ends here
