" Vim's part of TestE2EVimALE, for `vim -N -u NONE -i NONE -n -es -S ale.vim`.
"
" ALE has no command to run a command of a server, so the server is started by
" initializationOptions.autostart.

let s:root = $DEVSIDE_ROOT

function! s:Say(step, more) abort
  call writefile([json_encode(extend({'step': a:step}, a:more))], '/dev/stdout', 'a')
endfunction

" Await looks every 20 ms, and throws after 30 s.
function! s:Await(what, Look) abort
  let l:began = reltime()
  while 1
    let l:found = a:Look()
    if !empty(l:found)
      return l:found
    endif
    if reltimefloat(reltime(l:began)) > 30
      throw 'still waiting for ' . a:what
    endif
    sleep 20m
  endwhile
endfunction

function! s:Diagnostics() abort
  return filter(copy(ale#engine#GetLoclist(bufnr(''))), 'v:val.linter_name is# ''devside''')
endfunction

function! s:Run() abort
  execute 'set runtimepath^=' . fnameescape($DEVSIDE_ALE)
  let g:ale_linters = {'devside': ['devside']}
  let g:ale_set_signs = 0
  let g:ale_set_highlights = 0
  let g:ale_echo_cursor = 0
  runtime plugin/ale.vim
  call ale#linter#Define('devside', {
  \   'name': 'devside',
  \   'lsp': 'stdio',
  \   'executable': $DEVSIDE_BINARY,
  \   'command': '%e --stdio --allow-root',
  \   'project_root': {buffer -> s:root},
  \   'initialization_options': {'trusted': v:true, 'autostart': v:true},
  \})
  execute 'edit ' . fnameescape(s:root . '/devside.yaml')
  set filetype=devside
  call ale#Queue(0)

  let l:found = s:Await('a diagnostic', function('s:Diagnostics'))[0]
  call s:Say('diagnostic', {'code': l:found.code, 'message': l:found.text, 'line': l:found.lnum - 1})

  " What a person would type at the prompt: the number of the action.
  call ale#util#GetFunction('tr')
  function! ale#util#Input(message, value) abort
    for l:line in split(a:message, "\n")
      let l:match = matchlist(l:line, '\v^(\d+)\) (Stop .*)$')
      if !empty(l:match)
        call s:Say('action', {'title': l:match[2]})
        return l:match[1]
      endif
    endfor
    throw 'no action stops who has the port: ' . a:message
  endfunction
  call cursor(l:found.lnum, l:found.col)
  ALECodeAction

  call s:Await('no diagnostic', {-> empty(s:Diagnostics())})
  call s:Say('ready', {})
  call s:Await('the test', {-> filereadable($DEVSIDE_GO_ON)})
endfunction

try
  call s:Run()
catch
  call writefile([v:exception . ' at ' . v:throwpoint], '/dev/stderr', 'a')
  cquit
endtry
qall!
