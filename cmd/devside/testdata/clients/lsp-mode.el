;;; lsp-mode.el --- Emacs's part of TestE2ELspMode  -*- lexical-binding: t -*-

;;; Code:

(require 'lsp-mode)
(require 'lsp-diagnostics)

(setq lsp-session-file (make-temp-name (expand-file-name "lsp-session" (getenv "HOME")))
      lsp-enable-file-watchers nil
      lsp-warn-no-matched-clients nil)
(add-to-list 'lsp-language-id-configuration '(test-mode . "yaml"))
(lsp-register-client
 (make-lsp-client
  :new-connection (lsp-stdio-connection (lambda () test-server))
  :major-modes '(test-mode)
  :server-id 'devside
  :initialization-options '(:trusted t)
  :notification-handlers
  (let ((handlers (make-hash-table :test 'equal)))
    (puthash "devside/didChangeStatus"
             (lambda (_workspace params)
               (setq test-state (lsp-get (elt (lsp-get params :servers) 0) :state)))
             handlers)
    (puthash "devside/didHappen" #'ignore handlers)
    handlers)))

(defun test-diagnostics ()
  "The diagnostics of the file, as lsp-mode has them."
  (append (gethash (lsp--fix-path-casing (file-truename buffer-file-name)) (lsp-diagnostics)) nil))

(test-run
 (lambda ()
   (lsp-workspace-folders-add test-root)
   (lsp)
   (test-await "the server"
               (lambda ()
                 (let ((workspace (car (lsp-workspaces))))
                   (and workspace (eq (lsp--workspace-status workspace) 'initialized)))))
   (let ((answer (lsp-workspace-command-execute "devside.server.start" [(:servers ["api"])]))
         diagnostic)
     (unless (equal (lsp-get (elt (lsp-get answer :servers) 0) :state) "blocked")
       (error "The start of a server whose port is taken: %S" answer))
     (setq diagnostic (test-await "a diagnostic" (lambda () (car (test-diagnostics)))))
     (let ((start (lsp-get (lsp-get diagnostic :range) :start)))
       (test-say "diagnostic"
                 :code (lsp-get diagnostic :code)
                 :message (lsp-get diagnostic :message)
                 :line (lsp-get start :line))
       (goto-char (lsp--position-to-point start)))
     (call-interactively #'lsp-execute-code-action)
     (test-await "the server to be ready, without a diagnostic"
                 (lambda () (and (equal test-state "ready") (null (test-diagnostics)))))
     (test-go-on))))

;;; lsp-mode.el ends here
