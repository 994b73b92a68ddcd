;;; eglot.el --- Emacs's part of TestE2EEmacs  -*- lexical-binding: t -*-

;; It works with eglot 1.9, which Debian has as a package for Emacs 28, and is
;; written for the one in Emacs since 29, too.

;;; Code:

(require 'eglot)

(add-to-list 'eglot-server-programs
             `(test-mode . (,@test-server :initializationOptions (:trusted t))))

(cl-defmethod eglot-handle-notification
  (_server (_method (eql devside/didChangeStatus)) &key servers &allow-other-keys)
  (setq test-state (plist-get (aref servers 0) :state)))

(test-run
 (lambda ()
   (setq eglot-sync-connect t)
   (call-interactively #'eglot)
   (let* ((server (test-await "the server" #'eglot-current-server))
          (answer (jsonrpc-request server :workspace/executeCommand
                                   '(:command "devside.server.start" :arguments [(:servers ["api"])])
                                   :timeout 30))
          diagnostic)
     (unless (equal (plist-get (aref (plist-get answer :servers) 0) :state) "blocked")
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
     (call-interactively #'eglot-code-actions)
     (test-await "the server to be ready, without a diagnostic"
                 (lambda ()
                   (flymake-start)
                   (and (equal test-state "ready") (null (flymake-diagnostics)))))
     (test-go-on)
     (when (equal (getenv "DEVSIDE_END") "shutdown")
       (eglot-shutdown server)))))

;;; eglot.el ends here
