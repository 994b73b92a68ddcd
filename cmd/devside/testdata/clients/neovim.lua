-- Neovim's part of TestE2ENeovim, for `nvim --headless -u NONE -c 'luafile …'`.
-- It works with the functions of Neovim 0.7 and of those that came later.

local root, binary, go_on = vim.env.DEVSIDE_ROOT, vim.env.DEVSIDE_BINARY, vim.env.DEVSIDE_GO_ON

local function say(step, more)
  local line = vim.tbl_extend('force', { step = step }, more or {})
  io.stdout:write((vim.fn.json_encode(line)) .. '\n')
  io.stdout:flush()
end

-- await looks every 20 ms, and fails after 30 s.
local function await(what, look)
  local found
  local ok = vim.wait(30000, function()
    found = look()
    return found and true or false
  end, 20)
  if not ok then
    error('still waiting for ' .. what)
  end
  return found
end

local function run()
  vim.cmd('edit ' .. vim.fn.fnameescape(root .. '/devside.yaml'))
  local buffer = vim.api.nvim_get_current_buf()
  local status
  local config = {
    name = 'devside',
    cmd = { binary, '--stdio', '--allow-root' },
    root_dir = root,
    cmd_cwd = root,
    init_options = { trusted = true },
    handlers = {
      ['devside/didChangeStatus'] = function(_, result)
        status = result
      end,
    },
  }
  local id
  if vim.lsp.start then
    id = vim.lsp.start(config)
  else
    id = vim.lsp.start_client(config)
    vim.lsp.buf_attach_client(buffer, id)
  end
  local client = await('the client', function()
    local client = vim.lsp.get_client_by_id(id)
    return client and client.initialized and client
  end)

  local answer
  client.request('workspace/executeCommand', { command = 'devside.server.start', arguments = { { servers = { 'api' } } } }, function(err, result)
    answer = { err = err, result = result }
  end, buffer)
  await('the answer to devside.server.start', function()
    return answer
  end)
  assert(not answer.err, vim.inspect(answer.err))
  assert(answer.result.servers[1].state == 'blocked', vim.inspect(answer.result))

  local diagnostic = await('a diagnostic', function()
    return vim.diagnostic.get(buffer)[1]
  end)
  local code = diagnostic.code or diagnostic.user_data.lsp.code
  say('diagnostic', { code = code, message = diagnostic.message, line = diagnostic.lnum })

  -- What a person would pick from the menu. An item is a pair in older versions.
  vim.ui.select = function(items, _, choose)
    for _, item in ipairs(items) do
      local title = (item.action or item[2]).title
      if vim.startswith(title, 'Stop ') then
        say('action', { title = title })
        return choose(item)
      end
    end
    error('no action stops who has the port: ' .. vim.inspect(items))
  end
  vim.api.nvim_win_set_cursor(0, { diagnostic.lnum + 1, diagnostic.col })
  vim.lsp.buf.code_action()

  await('the server to be ready, without a diagnostic', function()
    return status and status.servers[1].state == 'ready' and #vim.diagnostic.get(buffer) == 0
  end)
  say('ready')
  await('the test', function()
    return vim.loop.fs_stat(go_on)
  end)
end

local ok, err = xpcall(run, debug.traceback)
if not ok then
  io.stderr:write(tostring(err) .. '\n')
  vim.cmd('cquit 1')
end
vim.cmd('qall!')
